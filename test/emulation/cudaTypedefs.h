// The driver functions' types by version.
#pragma once

#include <cuda.h>

using PFN_cuTensorMapEncodeTiled_v12000 = PFN_cuTensorMapEncodeTiled;
