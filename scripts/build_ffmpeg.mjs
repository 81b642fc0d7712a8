// FFmpeg for the prebuilt decode addon: static libraries of what the addon reads and writes and nothing else, under the
// LGPL (its default; --enable-gpl is not used). See prebuild.mjs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

// What the demuxer opens (native/video/allow_list.cc; test/package/prebuilt.test.ts compares them) and
// the encoder writes. FFmpeg has other names for some than when it is asked for them at run time.
const parts = {
  demuxer: 'mov,matroska,avi,mpegts,mpegps,ogg,flv,ivf,h264,hevc,m4v,mpegvideo',
  decoder:
    'h264,hevc,vp8,vp9,libdav1d,mpeg4,msmpeg4v2,msmpeg4v3,h263,mpeg1video,mpeg2video,mjpeg,theora,flv,prores',
  parser: 'h264,hevc,vp8,vp9,av1,mpeg4video,mpegvideo,h263,mjpeg',
  bsf: 'extract_extradata',
  encoder: 'mpeg4',
  muxer: 'mp4',
};

const leftOut = [
  'programs',
  'doc',
  'avdevice',
  'avfilter',
  'swresample',
  'network',
  'debug',
  'autodetect',
  'iconv',
  'everything',
];

/** Arguments of FFmpeg's `configure`, but for where it is installed. */
export const ffmpegSettings = [
  ...leftOut.map((part) => `--disable-${part}`),
  ...['--enable-pic', '--enable-zlib', '--enable-libdav1d'],
  ...Object.entries(parts).map(([kind, names]) => `--enable-${kind}=${names}`),
];

/** What of it is not there, and how Debian's package is called. */
export function missingForFfmpeg() {
  const programs = ['nasm'].filter((name) => spawnSync(name, ['--version']).error);
  const libraries = [
    ['dav1d', 'libdav1d-dev'],
    ['zlib', 'zlib1g-dev'],
  ].filter(([name]) => spawnSync('pkg-config', ['--exists', name]).status !== 0);
  return [...programs, ...libraries.map(([, debian]) => debian)];
}

/** The sources of Debian's package in `folder`, fetched by apt the first time; undefined where apt has none. */
export function debianSource(folder) {
  mkdirSync(folder, { recursive: true });
  const unpacked = () => readdirSync(folder).find((name) => existsSync(join(folder, name, 'configure')));
  if (!unpacked()) spawnSync('apt-get', ['source', '-qq', 'ffmpeg'], { cwd: folder, stdio: 'inherit' });
  const name = unpacked();
  return name && join(folder, name);
}

/**
 * Builds `source` in `folder`, unless that was done with the same settings.
 * @returns the folder for pkg-config; undefined when it failed
 */
export function buildFfmpeg(source, folder) {
  const prefix = join(folder, 'installed');
  const pkgConfig = join(prefix, 'lib/pkgconfig');
  const stamp = join(folder, 'settings');
  const settings = [source, ...ffmpegSettings].join('\n');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === settings) return pkgConfig;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'build'), { recursive: true });
  const jobs = `-j${availableParallelism()}`;
  const steps = [
    [join(source, 'configure'), `--prefix=${prefix}`, ...ffmpegSettings],
    ['make', '-s', jobs],
    ['make', '-s', 'install'],
  ];
  for (const [program, ...words] of steps) {
    const { status } = spawnSync(program, words, { cwd: join(folder, 'build'), stdio: 'inherit' });
    if (status !== 0) return undefined;
  }
  writeFileSync(stamp, settings);
  return pkgConfig;
}
