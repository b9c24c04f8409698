#include "journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace vaultysclaw::crash {

std::int64_t unixMillis() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

JournalWriter::JournalWriter(const std::filesystem::path& path, std::string agent)
    : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)), agent_(std::move(agent)) {
  if (file_.get() < 0) throw std::runtime_error(ioError("cannot open", path).message);
}

void JournalWriter::write(std::string_view what, std::string_view id, std::string_view mark) const {
  std::ostringstream line;
  line << unixMillis() << ' ' << agent_ << ' ' << ::getpid() << ' ' << what << ' ' << id << ' ' << mark << '\n';
  const std::string text = line.str();
  if (::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("the journal cannot be written");
}

std::vector<JournalLine> JournalReader::readNew() {
  std::vector<JournalLine> out;
  std::ifstream in(path_, std::ios::binary);
  if (!in) return out;  // nobody has written yet
  in.seekg(static_cast<std::streamoff>(offset_));
  for (std::string text; std::getline(in, text);) {
    if (in.eof()) break;  // no end of line: the rest is being written
    offset_ += text.size() + 1;
    JournalLine line;
    std::istringstream fields(text);
    if (!(fields >> line.at >> line.agent >> line.pid >> line.what >> line.id >> line.mark))
      throw std::runtime_error("the journal has a line that is none: " + text);
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace vaultysclaw::crash
