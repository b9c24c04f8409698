#include "output.hpp"

#include <algorithm>
#include <ostream>

#include "base/log.hpp"

namespace vaultysclaw::cli {
namespace {

// Characters, not bytes; wide ones count as one, which is right for the names and ids shown here.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

Painter::Painter(const Environment& environment, Terminal terminal)
    : colours_(terminal == Terminal::Yes && environment.variable("NO_COLOR").value_or("").empty() &&
               environment.variable("TERM").value_or("") != "dumb") {}

std::string Painter::paint(Style style, const std::string& text) const {
  if (!colours_ || style == Style::Plain) return text;
  const char* code = "0";
  switch (style) {
    case Style::Plain:
      break;
    case Style::Bold:
      code = "1";
      break;
    case Style::Dim:
      code = "2";
      break;
    case Style::Good:
      code = "32";
      break;
    case Style::Warning:
      code = "33";
      break;
    case Style::Bad:
      code = "31";
      break;
  }
  return std::string("\033[") + code + "m" + text + "\033[0m";
}

Style statusStyle(std::string_view status) {
  if (status == "connected" || status == "success" || status == "approved" || status == "valid") return Style::Good;
  if (status == "queued" || status == "pending" || status == "paused") return Style::Warning;
  if (status == "failed" || status == "timeout" || status == "lost" || status == "rejected" || status == "INVALID")
    return Style::Bad;
  return status == "offline" || status == "expired" ? Style::Dim : Style::Plain;
}

std::string terminalText(std::string_view text) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] != '\n' && text[i] != '\t') continue;
    std::string part = printable(text.substr(from, i - from), text.size() + 1);
    // C1 controls: a terminal may take U+009B for the start of an escape sequence.
    for (std::size_t at = part.find('\xc2'); at != std::string::npos && at + 1 < part.size();
         at = part.find('\xc2', at + 1)) {
      if (static_cast<unsigned char>(part[at + 1]) < 0xa0) part.replace(at, 2, "?");
    }
    out += part;
    if (i < text.size()) out.push_back(text[i]);
    from = i + 1;
  }
  return out;
}

void Table::row(std::vector<Cell> cells) {
  for (Cell& cell : cells) {
    std::replace(cell.text.begin(), cell.text.end(), '\n', ' ');
    std::replace(cell.text.begin(), cell.text.end(), '\t', ' ');
    cell.text = terminalText(cell.text);
    if (cell.text.empty()) cell = {"-", Style::Dim};
  }
  cells.resize(header_.size());
  rows_.push_back(std::move(cells));
}

void Table::print(std::ostream& out, const Painter& painter) const {
  std::vector<std::size_t> widths;
  for (const std::string& title : header_) widths.push_back(width(title));
  for (const auto& cells : rows_) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], width(cells[i].text));
  }
  const auto line = [&](const std::vector<Cell>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      out << painter.paint(cells[i].style, cells[i].text);
      if (i + 1 < cells.size()) out << std::string(widths[i] - width(cells[i].text) + 2, ' ');
    }
    out << '\n';
  };
  std::vector<Cell> titles;
  for (const std::string& title : header_) titles.push_back({title, Style::Bold});
  line(titles);
  for (const auto& cells : rows_) line(cells);
}

}  // namespace vaultysclaw::cli
