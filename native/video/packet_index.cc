#include "packet_index.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <queue>

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace native::video {
namespace {

// VP8 stores reference-only frames as packets of their own; bit 4 of the first byte says whether one is
// shown.
bool is_hidden(AVCodecID codec, const AVPacket& packet) {
  return codec == AV_CODEC_ID_VP8 && packet.size > 0 && (packet.data[0] & 0x10) == 0;
}

// Finds the packets that complete a picture: H.264 may store even and odd rows as pictures of their own, and
// transport streams give each a packet.
class FieldPairs {
 public:
  explicit FieldPairs(const AVCodecParameters& parameters)
      : possible_(parameters.codec_id == AV_CODEC_ID_H264) {
    if (!possible_) return;
    parser_ = av_parser_init(AV_CODEC_ID_H264);
    context_ = avcodec_alloc_context3(nullptr);
    if (parser_ != nullptr) parser_->flags |= PARSER_FLAG_COMPLETE_FRAMES;
    if (context_ != nullptr) avcodec_parameters_to_context(context_, &parameters);
  }
  ~FieldPairs() {
    av_parser_close(parser_);
    avcodec_free_context(&context_);
  }
  FieldPairs(const FieldPairs&) = delete;
  FieldPairs& operator=(const FieldPairs&) = delete;

  // Is this, of the packets in their order, the second field of a picture?
  bool is_second(const AVPacket& packet) {
    if (!possible_) return false;
    CHECK(parser_ && context_, "ERR_OUT_OF_MEMORY", "no memory for a parser");
    uint8_t* data = nullptr;
    int size = 0;
    parser_->picture_structure = AV_PICTURE_STRUCTURE_UNKNOWN;
    av_parser_parse2(parser_, context_, &data, &size, packet.data, packet.size, AV_NOPTS_VALUE,
                     AV_NOPTS_VALUE, 0);
    const auto field = parser_->picture_structure;
    const bool paired =
        (first_ == AV_PICTURE_STRUCTURE_TOP_FIELD && field == AV_PICTURE_STRUCTURE_BOTTOM_FIELD) ||
        (first_ == AV_PICTURE_STRUCTURE_BOTTOM_FIELD && field == AV_PICTURE_STRUCTURE_TOP_FIELD);
    first_ = paired ? AV_PICTURE_STRUCTURE_UNKNOWN : field;
    return paired;
  }

 private:
  bool possible_;
  AVCodecParserContext* parser_ = nullptr;
  AVCodecContext* context_ = nullptr;
  AVPictureStructure first_ = AV_PICTURE_STRUCTURE_UNKNOWN;  // the field that waits for its other one
};

}  // namespace

PacketIndex PacketIndex::scan(Demuxer& demuxer, int64_t max_packets, const Stop& stop) {
  PacketIndex index;
  const AVCodecID codec = demuxer.stream()->codecpar->codec_id;
  std::unique_ptr<AVPacket, void (*)(AVPacket*)> packet(av_packet_alloc(),
                                                        [](AVPacket* p) { av_packet_free(&p); });
  CHECK(packet, "ERR_OUT_OF_MEMORY", demuxer.name(), ": no memory for a packet");
  PlainStream stream(*demuxer.stream()->codecpar);
  FieldPairs fields(*demuxer.stream()->codecpar);
  while (demuxer.read(packet.get(), stop)) {
    const int32_t number = index.packet_count();
    stream.look(*packet);
    index.note_header(*packet, *demuxer.stream()->codecpar);
    const bool second = fields.is_second(*packet);
    const bool key = (packet->flags & AV_PKT_FLAG_KEY) != 0 && !second;
    const bool shown = (packet->flags & AV_PKT_FLAG_DISCARD) == 0 && !is_hidden(codec, *packet);
    index.packets_.push_back({packet->pts, packet->dts, packet->pos, key, shown, second, -1});
    if (key) index.keys_.push_back(number);
    av_packet_unref(packet.get());
    CHECK(number < max_packets, "ERR_VIDEO_LIMIT", demuxer.name(), ": has more frames than the limit of ",
          max_packets, " (maxFrames)");
  }
  index.plain_ = stream.plain();
  index.order_by_position();
  index.rank_by_time();
  return index;
}

// A packet may come with another header than those before, which holds from there on.
void PacketIndex::note_header(const AVPacket& packet, const AVCodecParameters& stream) {
  size_t size = 0;
  const uint8_t* const header = av_packet_get_side_data(&packet, AV_PKT_DATA_NEW_EXTRADATA, &size);
  if (header == nullptr) return;
  const auto kept = [this](const uint8_t* data, size_t length) {
    return &*headers_.emplace(data, data + length).first;
  };
  if (header_from_.empty())
    header_from_[0] = kept(stream.extradata, static_cast<size_t>(stream.extradata_size));
  const std::vector<uint8_t>* const next = kept(header, size);
  if (next != header_from_.rbegin()->second) header_from_[packet_count()] = next;  // servers repeat them
}

const std::vector<uint8_t>* PacketIndex::header_at(int32_t number) const {
  const auto next = header_from_.upper_bound(number);
  return next == header_from_.begin() ? nullptr : std::prev(next)->second;
}

bool PacketIndex::begins_anew(int32_t number) const {
  return number > 0 && header_from_.count(number) > 0 && packet(number).key;
}

void PacketIndex::order_by_position() {
  by_position_.resize(packets_.size());
  std::iota(by_position_.begin(), by_position_.end(), 0);
  const auto position = [this](int32_t number) { return packet(number).position; };
  std::stable_sort(by_position_.begin(), by_position_.end(),
                   [&position](int32_t a, int32_t b) { return position(a) < position(b); });
  const auto repeated =
      std::adjacent_find(by_position_.begin(), by_position_.end(),
                         [&position](int32_t a, int32_t b) { return position(a) == position(b); });
  if (repeated != by_position_.end() || (!by_position_.empty() && position(by_position_.front()) < 0))
    by_position_.clear();
}

void PacketIndex::rank_by_time() {
  const int32_t first_key = keys_.empty() ? packet_count() : keys_.front();
  for (int32_t number = 0; number < packet_count(); ++number) {
    const PacketEntry& entry = packet(number);
    if (!entry.shown || entry.second_field) continue;
    by_rank_.push_back(number);
    if (entry.pts == AV_NOPTS_VALUE || number < first_key || entry.pts < packet(first_key).pts)
      times_tell_order_ = false;
  }
  if (!times_tell_order_) return;
  std::stable_sort(by_rank_.begin(), by_rank_.end(),
                   [this](int32_t a, int32_t b) { return packet(a).pts < packet(b).pts; });
  const auto repeated = std::adjacent_find(by_rank_.begin(), by_rank_.end(), [this](int32_t a, int32_t b) {
    return packet(a).pts == packet(b).pts;
  });
  if (repeated != by_rank_.end()) times_tell_order_ = false;
  set_frames(by_rank_);
}

void PacketIndex::set_frames(const std::vector<int32_t>& packets) {
  std::vector<int32_t> order = packets;
  for (PacketEntry& entry : packets_) entry.rank = -1;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    packets_[static_cast<size_t>(order[rank])].rank = static_cast<int32_t>(rank);
  }
  for (size_t number = 1; number < packets_.size(); ++number) {
    if (packets_[number].second_field) packets_[number].rank = packets_[number - 1].rank;
  }
  by_rank_ = std::move(order);
}

std::vector<int64_t> PacketIndex::frame_times() const {
  std::vector<int64_t> shown, decoded;
  for (const int32_t number : by_rank_) shown.push_back(packet(number).pts);
  const bool complete = std::find(shown.begin(), shown.end(), AV_NOPTS_VALUE) == shown.end();
  if (complete && std::is_sorted(shown.begin(), shown.end())) return shown;
  // AVI and MPEG program streams give some frames a time and others none. Pictures are shown at the pace at
  // which they are decoded, and what they are kept back for is the same for all.
  std::vector<int32_t> packets = by_rank_;
  std::sort(packets.begin(), packets.end());
  for (const int32_t number : packets) decoded.push_back(packet(number).dts);
  const bool ascends =
      std::adjacent_find(decoded.begin(), decoded.end(), std::greater_equal<>()) == decoded.end();
  if (!ascends || decoded.front() == AV_NOPTS_VALUE) return {};
  const auto timed =
      std::find_if(shown.begin(), shown.end(), [](int64_t time) { return time != AV_NOPTS_VALUE; });
  const int64_t delay =
      timed == shown.end() ? 0 : *timed - decoded[static_cast<size_t>(timed - shown.begin())];
  for (int64_t& time : decoded) time += delay;
  return decoded;
}

int PacketIndex::reorder_depth() const {
  std::vector<int64_t> times;
  for (const PacketEntry& entry : packets_) {
    if (entry.pts != AV_NOPTS_VALUE && !entry.second_field) times.push_back(entry.pts);
  }
  const std::vector<int64_t> decoded = times;
  std::sort(times.begin(), times.end());
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> kept;
  size_t shown = 0, depth = 0;
  for (const int64_t time : decoded) {
    kept.push(time);
    for (; !kept.empty() && kept.top() == times[shown]; ++shown) kept.pop();
    depth = std::max(depth, kept.size());
  }
  return static_cast<int>(depth);
}

int32_t PacketIndex::last_packet_of(int32_t frame) const {
  const int32_t number = packet_of(frame), next = number + 1;
  return next < packet_count() && packet(next).second_field ? next : number;
}

int32_t PacketIndex::start_for(int32_t frame) const {
  auto key = std::upper_bound(keys_.begin(), keys_.end(), packet_of(frame));
  while (key != keys_.begin()) {
    --key;
    if (packet(*key).rank <= frame) return *key;
  }
  return 0;
}

int32_t PacketIndex::key_before(int32_t number) const {
  const auto key = std::lower_bound(keys_.begin(), keys_.end(), number);
  return key == keys_.begin() ? 0 : *(key - 1);
}

int32_t PacketIndex::find(const AVPacket& read) const {
  const auto found = std::lower_bound(
      by_position_.begin(), by_position_.end(), read.pos,
      [this](int32_t number, int64_t position) { return packet(number).position < position; });
  if (found == by_position_.end() || packet(*found).position != read.pos) return -1;
  return packet(*found).pts == read.pts ? *found : -1;
}

}  // namespace native::video
