export { isArchiveName } from './archive_index';
export { isVideoName } from './labelled_shards';
export type { ListingOptions } from './listing';
export { openStore, type Source, type VideoStore } from './store';
