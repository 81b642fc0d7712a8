// What the system says when a file cannot be opened or read, as an error that tells whose fault it is.
#pragma once

#include <string>

namespace native::video {

// Throws for the errno `error` of a call on `name`: ERR_FILE_NOT_FOUND or ERR_FILE_READ where the file is at
// fault; ERR_FILE_IO where one file cannot tell whether it is a bad spot under it or all of the disk;
// ERR_SYSTEM or ERR_OUT_OF_MEMORY where the machine or its storage is at fault, which no rule for bad videos
// may hide. (FFmpeg's own ENOMEM does not come here: that is also its answer to absurd sizes in a damaged
// file.)
[[noreturn]] void fail_reading(const std::string& name, int error);

}  // namespace native::video
