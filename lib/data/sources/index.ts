export { isArchiveName } from './archive_index';
export { isVideoName } from './labelled_shards';
export { openStore, type Source, type VideoStore } from './store';
