# Read by llama.cpp's own project: the library alone, without what its programs share, which is half of the compiling.
set(LLAMA_BUILD_COMMON OFF)
