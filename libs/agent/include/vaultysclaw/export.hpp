// What the shared library shows: classes and functions marked VC_API, everything else is hidden.
#pragma once

#if defined(__GNUC__)
#define VC_API [[gnu::visibility("default")]]
#else
#define VC_API
#endif
