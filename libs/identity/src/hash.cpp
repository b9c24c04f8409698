// OpenSSL's plain functions, not its EVP interface: fetching an algorithm there starts the whole of OpenSSL, which
// reads its configuration file, a choice that belongs to the program we are a part of, and takes 2 MiB of memory. They
// use the same code of the processor's SHA instructions. OpenSSL 3 calls them deprecated and has no others without that
// start.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "identity/hash.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/assert.hpp"

namespace vaultysclaw::identity {
namespace {

template <class Context, std::size_t N>
std::array<std::uint8_t, N> digest(int (*init)(Context*), int (*update)(Context*, const void*, std::size_t),
                                   int (*final)(unsigned char*, Context*), std::initializer_list<BytesView> parts) {
  Context context;
  std::array<std::uint8_t, N> out{};
  bool ok = init(&context) == 1;
  for (const BytesView part : parts) ok = ok && update(&context, part.data(), part.size()) == 1;
  ok = ok && final(out.data(), &context) == 1;
  OPENSSL_cleanse(&context, sizeof context);  // some of what is hashed is secret
  VC_ASSERT(ok, "SHA-2 failed");
  return out;
}

}  // namespace

Sha224 sha224(std::initializer_list<BytesView> parts) {
  return digest<SHA256_CTX, 28>(SHA224_Init, SHA224_Update, SHA224_Final, parts);
}
Sha256 sha256(std::initializer_list<BytesView> parts) {
  return digest<SHA256_CTX, 32>(SHA256_Init, SHA256_Update, SHA256_Final, parts);
}
Sha512 sha512(std::initializer_list<BytesView> parts) {
  return digest<SHA512_CTX, 64>(SHA512_Init, SHA512_Update, SHA512_Final, parts);
}

}  // namespace vaultysclaw::identity
