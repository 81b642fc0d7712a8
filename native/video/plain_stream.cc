#include "plain_stream.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

namespace native::video {
namespace {

enum NalType {
  kSlice = 1,
  kIdrSlice = 5,
  kSei = 6,
  kSequence = 7,
  kPicture = 8,
  kDelimiter = 9,
  kFiller = 12
};

struct Bytes {
  const uint8_t* data;
  size_t size;

  // The first `count`, which are taken away; none when there are fewer.
  Bytes take(size_t count) {
    if (count > size) return {nullptr, 0};
    const Bytes taken{data, count};
    data += count;
    size -= count;
    return taken;
  }
  size_t number(size_t length) {
    const Bytes digits = take(length);
    size_t value = 0;
    for (size_t i = 0; i < digits.size; ++i) value = value << 8 | digits.data[i];
    return value;
  }
};

int type_of(const Bytes& nal) { return nal.data[0] & 0x1f; }

// Bits of a parameter set. Past the end there are zeros.
class Bits {
 public:
  explicit Bits(Bytes bytes) : bytes_(bytes) {}

  unsigned bit() {
    if (at_ % 8 == 0 && zeros_ >= 2 && at_ / 8 < bytes_.size && bytes_.data[at_ / 8] == 3) {
      at_ += 8;  // put in so that the bytes look like no start code
      zeros_ = 0;
    }
    if (at_ / 8 >= bytes_.size) return 0;
    const uint8_t byte = bytes_.data[at_ / 8];
    const unsigned value = byte >> (7 - at_ % 8) & 1;
    if (++at_ % 8 == 0) zeros_ = byte == 0 ? zeros_ + 1 : 0;
    return value;
  }
  unsigned number(int bits) {
    unsigned value = 0;
    while (bits-- > 0) value = value << 1 | bit();
    return value;
  }
  // An Exp-Golomb code.
  unsigned code() {
    int zeros = 0;
    while (zeros < 31 && bit() == 0) ++zeros;
    return (1u << zeros) - 1 + number(zeros);
  }

 private:
  Bytes bytes_;
  size_t at_ = 0;
  int zeros_ = 0;
};

// Frames, not fields, of 4:2:0 or 4:2:2 without anything rare.
bool is_ordinary_sequence(const Bytes& nal) {
  Bits bits(nal);
  bits.number(8);
  const unsigned profile = bits.number(8);
  bits.number(16);
  bits.code();
  if (profile == 100 || profile == 110 || profile == 122) {
    const unsigned chroma = bits.code();
    bits.code();
    bits.code();
    const unsigned lossless = bits.bit(), matrices = bits.bit();
    if (chroma == 0 || chroma > 2 || lossless || matrices) return false;
  } else if (profile != 66 && profile != 77) {
    return false;
  }
  bits.code();
  const unsigned order = bits.code();
  if (order == 0) bits.code();
  bits.code();
  const unsigned gaps = bits.bit();
  bits.code();
  bits.code();
  const unsigned whole_frames = bits.bit();
  return (order == 0 || order == 2) && !gaps && whole_frames;
}

bool is_ordinary_header(Bytes header) {
  const Bytes start = header.take(6);
  if (start.data == nullptr || start.data[0] != 1 || (start.data[4] & 3) != 3) return false;
  if ((start.data[5] & 31) != 1) return false;
  const Bytes sequence = header.take(header.number(2));
  if (sequence.size < 8 || type_of(sequence) != kSequence || !is_ordinary_sequence(sequence)) return false;
  size_t pictures = header.number(1);
  if (pictures == 0) return false;
  while (pictures-- > 0) {
    const Bytes picture = header.take(header.number(2));
    if (picture.size < 2 || type_of(picture) != kPicture) return false;
  }
  return true;
}

// x264's version, alone in its message. Decoders repair what versions up to 33 got wrong, and some later ones
// in 4:4:4.
bool is_harmless_note(const Bytes& nal) {
  constexpr uint8_t kX264[] = {0xdc, 0x45, 0xe9, 0xbd, 0xe6, 0xd9, 0x48, 0xb7,
                               0x96, 0x2c, 0xd8, 0x20, 0xd9, 0x23, 0xee, 0xef};
  constexpr char kVersion[] = "x264 - core ";
  constexpr size_t kText = sizeof kVersion - 1;
  Bytes rest = nal;
  if (rest.number(1) != kSei || rest.number(1) != 5) return false;
  size_t size = 0, part = 255;
  while (part == 255) size += part = rest.number(1);
  Bytes message = rest.take(size);
  if (rest.size != 1 || rest.data[0] != 0x80) return false;
  const Bytes kind = message.take(sizeof kX264), version = message.take(kText), digits = message.take(3);
  if (digits.size != 3 || memcmp(kind.data, kX264, sizeof kX264) != 0) return false;
  if (memcmp(version.data, kVersion, kText) != 0) return false;
  // Three digits at least, the first not zero: 100 or more.
  const bool numeric = std::all_of(digits.data, digits.data + 3, isdigit) && digits.data[0] != '0';
  const uint8_t* const end = message.data + message.size;  // a zero ends the text
  return numeric && std::find(message.data, end, 0) + 1 >= end;
}

// Sets `resets` when the packet's slices reset the decoder.
bool is_ordinary_packet(Bytes packet, bool& resets) {
  bool any = false;
  resets = false;
  while (packet.size > 0) {
    const Bytes nal = packet.take(packet.number(4));
    if (nal.size < 2) return false;
    const int type = type_of(nal);
    if (type == kSlice || type == kIdrSlice) {
      if (any && resets != (type == kIdrSlice)) return false;
      any = true;
      resets = type == kIdrSlice;
    } else if (type == kSei) {
      if (!is_harmless_note(nal)) return false;
    } else if (type != kDelimiter && type != kFiller) {
      return false;
    }
  }
  return any;
}

}  // namespace

PlainStream::PlainStream(const AVCodecParameters& parameters)
    : plain_(parameters.codec_id == AV_CODEC_ID_H264 &&
             is_ordinary_header({parameters.extradata, static_cast<size_t>(parameters.extradata_size)})) {}

void PlainStream::look(const AVPacket& packet) {
  if (!plain_) return;
  bool resets = false;
  const bool key = (packet.flags & AV_PKT_FLAG_KEY) != 0;
  plain_ = is_ordinary_packet({packet.data, static_cast<size_t>(packet.size)}, resets) && resets == key &&
           (begun_ || key) &&
           av_packet_get_side_data(&packet, AV_PKT_DATA_NEW_EXTRADATA, nullptr) == nullptr &&
           av_packet_get_side_data(&packet, AV_PKT_DATA_PARAM_CHANGE, nullptr) == nullptr;
  begun_ = true;
}

}  // namespace native::video
