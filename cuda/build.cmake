# The CUDA backend: an object library `native_cuda` of cuda/, for the architectures below. The runtime is linked
# statically and finds the driver when the program runs, so the same build works on a machine without a GPU.
# What the compiler says of registers, spills and stack stays beside each object as <name>.o.log, for
# scripts/check_resources.mjs.
get_filename_component(SOURCE_ROOT "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
include("${SOURCE_ROOT}/native/warnings.cmake")
set(WITH_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO (when nvcc is found)")
set(CUDA_TARGETS sm_80 sm_86 sm_89 sm_90a compute_80 CACHE STRING "Architectures; compute_* is PTX for later ones")

option(CUDA_KEEP_PTX "Keep the PTX that machine code is made of in build/ptx, as <name>.<architecture>.ptx, for tests" OFF)

if(NOT WITH_CUDA STREQUAL "OFF")
  if(DEFINED ENV{CUDACXX} AND NOT CUDAToolkit_ROOT)
    get_filename_component(CUDAToolkit_ROOT "$ENV{CUDACXX}" DIRECTORY)
  endif()
  # 12.5 brought cudaGetDriverEntryPointByVersion.
  find_package(CUDAToolkit 12.5 QUIET)
  if(NOT CUDAToolkit_FOUND AND WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "WITH_CUDA=ON, but no CUDA toolkit 12.5 or later was found: put nvcc on PATH or set CUDACXX")
  endif()
endif()

if(CUDAToolkit_FOUND)
  # Devices of one generation share its first PTX, whose making takes as long as what each makes of it.
  foreach(target ${CUDA_TARGETS})
    string(REGEX REPLACE "^sm_([0-9]+)[0-9]$" "compute_\\10" virtual ${target})
    string(REGEX REPLACE "^sm_" "compute_" virtual ${virtual})
    list(APPEND CUDA_CODE -gencode=arch=${virtual},code=${target})
    list(APPEND CUDA_VIRTUAL ${virtual})
  endforeach()
  list(REMOVE_DUPLICATES CUDA_VIRTUAL)
  if(WARNINGS_AS_ERRORS)
    set(all_warnings -Werror all-warnings)
  endif()
  list(JOIN WARNINGS "," host_warnings)
  set(CUDA_FLAGS -std=c++17 -O3 --expt-relaxed-constexpr -Xptxas -v ${all_warnings} -Wno-deprecated-gpu-targets
                 -Xcompiler -fPIC,-fvisibility=hidden,${host_warnings} -I${SOURCE_ROOT}/native -I${SOURCE_ROOT}/cuda)

  set(CUDA_PTX_FOLDER ${CMAKE_BINARY_DIR}/ptx)
  if(CUDA_KEEP_PTX)
    file(MAKE_DIRECTORY ${CUDA_PTX_FOLDER})
  endif()

  # Compiles .cu sources for every target; their objects are listed in the variable named `result`.
  function(compile_cuda result)
    foreach(source ${ARGN})
      file(RELATIVE_PATH name ${SOURCE_ROOT} ${source})
      set(object ${CMAKE_BINARY_DIR}/${name}.o)
      get_filename_component(folder ${object} DIRECTORY)
      file(MAKE_DIRECTORY ${folder})
      set(compile "\"$0\" \"$@\" >\"${object}.log\" 2>&1 || { cat \"${object}.log\" >&2$<SEMICOLON> exit 1$<SEMICOLON> }")
      set(keep)
      set(kept)
      if(CUDA_KEEP_PTX) # among all else that the compiler then leaves, and for nothing
        set(left "${object}.left")
        set(compile "rm -rf \"${left}\" && mkdir \"${left}\" && ${compile} && mv \"${left}\"/*.ptx \"${CUDA_PTX_FOLDER}\" && rm -r \"${left}\"")
        set(keep --keep --keep-dir ${left})
        get_filename_component(stem ${source} NAME_WE)
        foreach(virtual ${CUDA_VIRTUAL})
          list(APPEND kept ${CUDA_PTX_FOLDER}/${stem}.${virtual}.ptx)
        endforeach()
      endif()
      add_custom_command(
        OUTPUT ${object} BYPRODUCTS ${kept}
        COMMAND sh -c "${compile}"
                ${CUDAToolkit_NVCC_EXECUTABLE} ${CUDA_FLAGS} ${CUDA_CODE} ${keep} -MD -MF ${object}.d -c ${source} -o ${object}
        DEPENDS ${source} DEPFILE ${object}.d
        COMMENT "CUDA ${name}" VERBATIM)
      set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
      list(APPEND objects ${object})
    endforeach()
    set(${result} ${objects} PARENT_SCOPE)
  endfunction()

  file(GLOB_RECURSE CUDA_KERNELS CONFIGURE_DEPENDS ${SOURCE_ROOT}/cuda/*.cu)
  compile_cuda(CUDA_OBJECTS ${CUDA_KERNELS})

  file(GLOB_RECURSE CUDA_SOURCES CONFIGURE_DEPENDS ${SOURCE_ROOT}/cuda/*.cc)
  string(REPLACE ";" " " targets "${CUDA_TARGETS}")
  add_library(native_cuda OBJECT ${CUDA_SOURCES} ${CUDA_OBJECTS})
  target_include_directories(native_cuda PRIVATE ${SOURCE_ROOT}/native ${SOURCE_ROOT}/cuda)
  target_include_directories(native_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_definitions(native_cuda PRIVATE "NATIVE_CUDA_ARCHITECTURES=\"${targets}\"")
  target_compile_options(native_cuda PRIVATE ${WARNINGS})
  message(STATUS "CUDA ${CUDAToolkit_VERSION} for ${targets}")
endif()
