#pragma once

namespace bench {

// How many clusters of two blocks, each with all the shared memory of a multiprocessor, the device holds at
// once: half its multiprocessors where none is left alone. 0 where there are no clusters.
int resident_pairs();

}  // namespace bench
