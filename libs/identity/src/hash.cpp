#include "identity/hash.hpp"

#include <openssl/evp.h>

#include <memory>

#include "base/assert.hpp"

namespace vaultysclaw::identity {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Fetching an algorithm takes locks and costs more than hashing a short message: each is fetched once and kept.
const EVP_MD* fetched(const char* name) {
  const EVP_MD* md = EVP_MD_fetch(nullptr, name, nullptr);
  VC_ASSERT(md != nullptr, "OpenSSL has no SHA-2");
  return md;
}

template <std::size_t N>
std::array<std::uint8_t, N> digest(const EVP_MD* md, std::initializer_list<BytesView> parts) {
  thread_local const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  std::array<std::uint8_t, N> out{};
  bool ok = context != nullptr && EVP_DigestInit_ex2(context.get(), md, nullptr) == 1;
  for (const BytesView part : parts) ok = ok && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  ok = ok && EVP_DigestFinal_ex(context.get(), out.data(), nullptr) == 1;
  VC_ASSERT(ok, "SHA-2 failed");
  return out;
}

}  // namespace

Sha224 sha224(std::initializer_list<BytesView> parts) {
  static const EVP_MD* const md = fetched("SHA224");
  return digest<28>(md, parts);
}
Sha256 sha256(std::initializer_list<BytesView> parts) {
  static const EVP_MD* const md = fetched("SHA256");
  return digest<32>(md, parts);
}
Sha512 sha512(std::initializer_list<BytesView> parts) {
  static const EVP_MD* const md = fetched("SHA512");
  return digest<64>(md, parts);
}

}  // namespace vaultysclaw::identity
