/** Picture size in pixels: [width, height]. */
export type Size = [number, number];

/** Place in pixels: [left, top]. */
export type Point = [number, number];

/** Rectangle in pixels: [left, top, width, height]. */
export type Box = [number, number, number, number];
