# WARNINGS: what compilers warn of. Here a warning is an error; below somebody's node_modules (scripts/build_compute.mjs)
# it is not, where a compiler newer than this package would end an install.
option(WARNINGS_AS_ERRORS "A warning ends the build" ON)
set(WARNINGS -Wall -Wextra)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  list(APPEND WARNINGS -Wno-pass-failed) # "omp simd" permits vectors, and is no worse where there are none
endif()
if(WARNINGS_AS_ERRORS)
  list(APPEND WARNINGS -Werror)
endif()
