// Which work a cluster of gemm_sm90 does. Where the device is this process's alone, cluster c of C does the
// pieces numbered c, c + C, ... Where other kernels hold multiprocessors (collectives beside the backward
// pass), some clusters begin when others end, and a fixed share would make the product take twice its time:
// there each piece is taken, in order, by the first cluster that is free. Whoever waits for an earlier piece
// (slabs of a tile are added in order) then waits for a cluster that runs.
#pragma once

#include <primitives/hopper.cuh>

#include "gemm/gemm_sm90_launch.h"

namespace native::cuda {

// Numbers of work between the thread that draws them for a cluster and all who read them, in each block.
inline constexpr uint32_t kSm90Tickets = 4;
struct Sm90Tickets {
  int work[kSm90Tickets];
  Barrier drawn[kSm90Tickets], read[kSm90Tickets];  // read: of the first block, about all blocks
};

enum class Sm90Reader { thread, warp };  // who asks: a thread alone, or all threads of a warp

// One slab of one tile.
struct Sm90Work {
  int slab, batch, row, column;  // row and column: first element of the block's tile
  int begin, end;                // steps
  int tile;                      // index of the tile without its slab
  bool sums_rows;                // the one of a row of tiles that makes row_sum
};

// Work is numbered with columns fastest, so that neighbours share rows of A, and slabs slowest, so that all
// blocks read the same k range at a time. Where B does not fit the cache, a band of its columns is done for
// all rows before the next. Row sums are made in another column of each row of tiles, since c, c + C, ... may
// all lie in one.
template <class C, class Tile>
struct Sm90Schedule {
  static constexpr bool kSlabs = std::is_same_v<C, float>;  // 16-bit results are summed at once
  const Sm90Params& params;
  Sm90Tickets& tickets;
  const Sm90Reader reader;
  const int rank, stride, count;
  int index;
  uint32_t read = 0;  // tickets

  __device__ __forceinline__ Sm90Schedule(const Sm90Params& p, Sm90Tickets& t, Sm90Reader who)
      : params(p),
        tickets(t),
        reader(who),
        rank(p.cluster > 1 ? cluster_rank() : 0),
        stride(static_cast<int>(gridDim.x) / p.cluster),
        count(work_count(p)),
        index(static_cast<int>(blockIdx.x) / p.cluster) {}

  __device__ __forceinline__ uint32_t place() const { return read % kSm90Tickets; }
  __device__ __forceinline__ uint32_t phase() const { return read / kSm90Tickets % 2; }

  __device__ __forceinline__ void start() {
    if (Tile::kTickets) index = read_ticket();
  }
  __device__ __forceinline__ bool valid() const { return index < count; }
  // To the next piece of the cluster's work. Behind the last one is none.
  __device__ __forceinline__ void advance(int by = 1) {
    if (Tile::kTickets) {
      for (int i = 0; i < by && valid(); ++i) index = read_ticket();
    } else {
      index += by * stride;
    }
  }
  __device__ __forceinline__ int first_step(int slab) const {
    const int all = params.steps * params.summed;
    return kSlabs ? slab * all / params.slabs : slab * all;
  }
  __device__ __forceinline__ int step_count() const {
    const int slab = kSlabs ? index / (params.batch * params.row_tiles * params.column_tiles) : 0;
    return first_step(slab + 1) - first_step(slab);
  }
  __device__ __forceinline__ Sm90Work work() const {
    Sm90Work work;
    const int tiles = params.row_tiles * params.column_tiles, matrix = index / tiles;
    const int tile = index - matrix * tiles;
    const int band = tile / (params.row_tiles * params.band), first = band * params.band;
    const int in_band = tile - band * params.row_tiles * params.band;
    const int left = params.column_tiles - first, width = left < params.band ? left : params.band;
    const int rows = in_band / width, column_tile = first + in_band - rows * width;
    const int row_tile = rows * params.cluster + rank;
    work.slab = kSlabs ? matrix / params.batch : 0;
    work.batch = matrix - work.slab * params.batch;
    work.row = row_tile * Tile::kM;
    work.column = column_tile * Tile::kN;
    work.begin = first_step(work.slab);
    work.end = first_step(work.slab + 1);
    work.tile =
        (work.batch * params.row_tiles * params.cluster + row_tile) * params.column_tiles + column_tile;
    work.sums_rows = params.row_sum && column_tile == rows % params.column_tiles;
    return work;
  }

 private:
  __device__ __forceinline__ int read_ticket() {
    barrier_wait_cluster(tickets.drawn[place()], phase());
    const int number = tickets.work[place()];
    bool one = true;
    if (reader == Sm90Reader::warp) {
      warp_barrier();
      one = lane_index() == 0;
    }
    // It is never negative, but by asking it is there before its place is given back.
    if (one && number >= 0) barrier_arrive_cluster(tickets.read[place()], 0);
    ++read;
    return number;
  }
};

// The same for the thread of each block that loads operands: in the first block of a cluster it draws what
// the cluster does, ahead of all who read it.
template <class C, class Tile>
struct Sm90Draw : Sm90Schedule<C, Tile> {
  using Schedule = Sm90Schedule<C, Tile>;
  using Schedule::params, Schedule::rank, Schedule::stride, Schedule::count, Schedule::tickets,
      Schedule::read, Schedule::place, Schedule::phase;

  __device__ __forceinline__ Sm90Draw(const Sm90Params& p, Sm90Tickets& t)
      : Schedule(p, t, Sm90Reader::thread) {}

  __device__ __forceinline__ void start() {
    announce(draw());
    Schedule::start();
  }

  // What will be the next number, for announce(). It takes as long as memory does.
  __device__ __forceinline__ int draw() const {
    return Tile::kTickets && rank == 0 ? atomic_add(params.tickets, 1) : 0;
  }

  // Lets everybody have it, this thread by advance().
  __device__ __forceinline__ void announce(int number) {
    if (!Tile::kTickets) return;
    Barrier& drawn = tickets.drawn[place()];
    if (params.cluster > 1) barrier_arrive_expect(drawn, sizeof(int));
    if (rank > 0) return;
    barrier_wait_cluster(tickets.read[place()], phase() ^ 1);
    if (params.cluster > 1) {
#pragma unroll 1
      for (int block = 0; block < params.cluster; ++block)
        store_async(&tickets.work[place()], number, drawn, block);
    } else {
      tickets.work[place()] = number;
      barrier_arrive(drawn);
    }
    // Every cluster draws one number that is too high. After the last of these nobody draws.
    if (number == count + stride - 1) *params.tickets = 0;
  }

  // Until all that was announced has been read, in other blocks too.
  __device__ __forceinline__ void wait_for_readers() {
    if (Tile::kTickets && rank == 0) {
#pragma unroll 1
      for (const uint32_t end = read + kSm90Tickets; read < end; ++read) {
        barrier_wait_cluster(tickets.read[place()], phase() ^ 1);
      }
    }
  }
};

}  // namespace native::cuda
