{
  # 0 below somebody's node_modules, by scripts/build_video.mjs; see native/warnings.cmake.
  "variables": { "warnings_as_errors%": 1 },
  "targets": [
    {
      "target_name": "video",
      "sources": [
        "addon.cc",
        "convert.cc",
        "environment.cc",
        "<!@(node -p \"['video','data'].flatMap((d) => require('fs').readdirSync('../../native/' + d).filter((f) => f.endsWith('.cc')).map((f) => '../../native/' + d + '/' + f)).join(' ')\")"
      ],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++17",
        "-O3",
        "-Wall",
        "-Wextra",
        "-ffp-contract=off",
        "-fvisibility=hidden",
        "<!@(pkg-config --cflags libavformat libavcodec libswscale libavutil)"
      ],
      "libraries": ["<!@(pkg-config --libs libavformat libavcodec libswscale libavutil)"],
      "conditions": [
        ["warnings_as_errors==1", { "cflags_cc": ["-Werror"] }],
        # A thread that is stuck in a read may outlive the environment that loaded the addon.
        ["OS=='linux'", { "ldflags": ["-Wl,-z,nodelete"] }],
        [
          "OS=='mac'",
          {
            "xcode_settings": {
              "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
              "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
              "OTHER_CFLAGS": ["-ffp-contract=off", "<!@(pkg-config --cflags libavformat libavcodec libswscale libavutil)"]
            }
          }
        ]
      ]
    }
  ]
}
