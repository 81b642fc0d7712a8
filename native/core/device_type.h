// The kinds of devices.
#pragma once

#include <cstdint>

namespace native {

enum class DeviceType : uint8_t { cpu, cuda };
inline constexpr int kDeviceTypeCount = 2;

inline const char* device_name(DeviceType device) { return device == DeviceType::cpu ? "cpu" : "cuda"; }

}  // namespace native
