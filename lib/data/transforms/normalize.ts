/** Channel means (R, G, B) of the 0..255 scale that pictures are normalised with: those of the recipe. */
export const channelMean: [number, number, number] = [123.675, 116.28, 103.53];

/** Channel standard deviations (R, G, B) on the same scale. */
export const channelStd: [number, number, number] = [58.395, 57.12, 57.375];
