// What the headers of an MP4 claim, looked at before FFmpeg believes it.
#pragma once

#include <string>

#include "byte_source.h"

namespace native::video {

// FFmpeg makes an entry of 24 bytes for every sample that a header counts, or for pieces of the chunks of
// sound, before it looks for any of them, and again for every edit that shows it, so that a file of a few
// kilobytes could take gigabytes and seconds. Throws ERR_VIDEO_LIMIT when the entries of all tracks are more
// than the file has bytes, and more than are harmless, and ERR_VIDEO_FORMAT when its headers are compressed,
// as QuickTime of the nineties could write them, so that nobody can count. Needs a stop to be set in `bytes`;
// what a read fails with is left there. Of what is no MP4 hardly anything is read.
void check_sample_counts(ByteSource& bytes, const std::string& name);

}  // namespace native::video
