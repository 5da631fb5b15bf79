package redis

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"callchain/escalation/store"
)

// The scripts know where version and mark begin.
const headerSize = 4 + 8 + 8 + 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode lays out a record as it is stored. It copies data.
func encode(k store.Key, version uint64, mark [8]byte, wake int64, data []byte) []byte {
	b := make([]byte, 4, headerSize+len(data))
	b = binary.BigEndian.AppendUint64(b, version)
	b = append(b, mark[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(wake))
	b = append(b, data...)
	binary.BigEndian.PutUint32(b, checksum(k, b))
	return b
}

func checksum(k store.Key, stored []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte{k.Partition})
	sum = crc32.Update(sum, castagnoli, []byte(k.ID))
	return crc32.Update(sum, castagnoli, stored[4:])
}

// decode never fails: a record that is not what was written has a version other
// than 0, by which it can be replaced, and neither data nor a wake-up.
func decode(k store.Key, stored string) store.Record {
	r := store.Record{Key: k, Version: 1}
	if len(stored) < headerSize {
		return r
	}
	b := []byte(stored)
	r.Version = max(1, binary.BigEndian.Uint64(b[4:]))
	if binary.BigEndian.Uint32(b) == checksum(k, b) {
		r.Wake = store.Instant(int64(binary.BigEndian.Uint64(b[20:])))
		r.Data = b[headerSize:]
	}
	return r
}

func corrupt(k store.Key) error {
	return fmt.Errorf("record %q of partition %d: %w", k.ID, k.Partition, store.ErrCorrupt)
}

// expected is how the script compares versions: "" for an absent record.
func expected(version uint64) []byte {
	if version == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, version)
}
