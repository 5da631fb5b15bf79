// Package bolt is the Store for one machine: one bbolt file, held by one
// process. A Commit that returned nil is on the disk (fdatasync), whatever
// becomes of the process or the machine afterwards.
//
// # The file
//
//	records  partition byte + id              -> header + data
//	wakes    wake-up (ms, 8 bytes, big endian)
//	         + partition byte + id            -> nothing
//	meta     schema, created, installation    -> text
//
// The header is 28 bytes, big endian: CRC32C of the key and of all that
// follows it, version, mark, wake-up. bbolt's pages carry no checksum of their
// own, so the record's is verified whenever it is read. wakes is an index of the
// wake-ups in the headers and changes with them.
//
// # Writing
//
// One goroutine writes. It takes all Txns that wait at that moment, applies them
// one after the other within one bbolt transaction, and answers them when that
// is synced: one sync (bbolt makes it two: pages, then the page that points to
// them) serves as many Txns as were waiting, and a Txn that finds nobody
// waiting is written at once. A Txn that conflicts leaves the others of
// its batch as they are.
//
// # Claims
//
// Claims live in memory. Nobody else can have the file open, so a lease that is
// lost with the process only makes the record due again, and claiming costs no
// write. The marks of deleted records live in memory too: whoever could try
// again is gone with the process.
//
// # Time
//
// Now is the wall clock at Open and the monotonic clock from there on: stepping
// the wall clock moves no timer until the process starts again. The clock at
// Open is taken as it is, also when it is behind what the file has seen. On
// Linux the monotonic clock stands still while a machine is suspended.
//
// # What it refuses
//
// It never runs without sync, never waits to make a batch larger, and does not
// keep a read transaction open while callers' code runs.
package bolt
