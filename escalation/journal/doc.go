// Package journal keeps what has to be done later on this machine's own disk:
// the engine writes down what arrives while its store is away, and takes it up
// again when the store is back.
//
// A journal is a directory of segments, 0000000001.log and so on. Each is a
// sequence of frames, written at the end and never changed:
//
//	magic     4 bytes, so that reading can go on behind a damaged frame
//	length    4 bytes, little endian: of what follows the checksum
//	checksum  4 bytes: CRC32C of the length and what follows
//	sequence  8 bytes: rises by one with every entry
//	kind      1 byte: an entry, or a mark that one is done with
//	data      the entry; of a mark nothing, its sequence is that of the entry
//
// Append returns when its frame is synced; whoever waits at the same time shares
// the sync. Marks are not synced for their own sake: one that is lost makes an
// entry come up again, which must be harmless to whoever does it. The oldest
// segment is removed when all of its entries are done: so a mark, which never
// stands in an older segment than its entry, outlives it.
//
// A frame that was not written to its end is cut off at the next Open. The
// package knows nothing of what it keeps, and it keeps no copy in memory.
package journal
