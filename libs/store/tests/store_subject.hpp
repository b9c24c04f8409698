// A store and a row of works for it, as tests of power loss and faults need them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace vaultysclaw::store {

// Step k is one commit of one or more works; which works they are depends on the seed alone.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual Status open(const std::filesystem::path& directory) = 0;
  virtual void close() = 0;
  virtual std::size_t steps() const = 0;
  // Tells of each work, in order, how it ended.
  virtual void run(std::size_t step, const std::function<void(std::size_t work, const Status&)>& told) = 0;
  // The same work by itself.
  virtual Status apply(std::size_t step, std::size_t work) = 0;
  virtual Result<std::string> dump() = 0;  // all there is, through the public interface
};

// Whether a work that ends so has failed by itself: it gave up, or what it is about is not there.
inline bool failedByItself(const Error& error) {
  return error.code == Errc::InvalidArgument || error.code == Errc::NotFound || error.code == Errc::Conflict;
}

struct SubjectSize {
  int small = 0;  // steps of random works
  int large = 0;  // steps among them that write much, so that the log is moved into the database
};
struct SubjectKind {
  const char* name;
  std::unique_ptr<Subject> (*make)(std::uint64_t seed, SubjectSize size);
};
extern const SubjectKind kSubjectKinds[2];

}  // namespace vaultysclaw::store
