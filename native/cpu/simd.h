#pragma once

#include "../core/simd.h"
