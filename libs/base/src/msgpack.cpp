#include "base/msgpack.hpp"
