package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"callchain/escalation/store"
)

const headerSize = 4 + 8 + 8 + 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// boltKey is a key of the records bucket.
func boltKey(partition uint8, id string) []byte {
	key := make([]byte, 0, 1+len(id))
	return append(append(key, partition), id...)
}

func storeKey(key []byte) store.Key {
	return store.Key{Partition: key[0], ID: string(key[1:])}
}

// wakeKey is a key of the wakes bucket.
func wakeKey(ms int64, key []byte) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(ms))
	return append(k, key...)
}

// encode lays out a record as it is stored under key. It copies data.
func encode(key []byte, version uint64, mark [8]byte, wake int64, data []byte) []byte {
	b := make([]byte, 4, headerSize+len(data))
	b = binary.BigEndian.AppendUint64(b, version)
	b = append(b, mark[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(wake))
	b = append(b, data...)
	binary.BigEndian.PutUint32(b, checksum(key, b))
	return b
}

func checksum(key, stored []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, stored[4:])
}

// stored is a record as it was read. Its data points into the file and is good
// only within the transaction.
type stored struct {
	version uint64
	mark    [8]byte
	wake    int64
	data    []byte
	damaged bool
}

// decode never fails: a record that is not what was written is damaged, has a
// version other than 0, by which it can be replaced, and no data.
func decode(key, value []byte) stored {
	if len(value) < headerSize {
		return stored{version: 1, damaged: true}
	}
	r := stored{
		version: max(1, binary.BigEndian.Uint64(value[4:])),
		mark:    [8]byte(value[12:20]),
		wake:    int64(binary.BigEndian.Uint64(value[20:])),
		data:    value[headerSize:],
	}
	if binary.BigEndian.Uint32(value) != checksum(key, value) {
		r.damaged, r.data = true, nil
	}
	return r
}

// public copies a record out of the file.
func (r stored) public(key []byte) store.Record {
	rec := store.Record{Key: storeKey(key), Version: r.version}
	if !r.damaged {
		rec.Data = append([]byte{}, r.data...)
		rec.Wake = store.Instant(r.wake)
	}
	return rec
}

func corrupt(key []byte) error {
	return fmt.Errorf("record %q of partition %d: %w", key[1:], key[0], store.ErrCorrupt)
}
