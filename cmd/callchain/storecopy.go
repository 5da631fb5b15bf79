package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"callchain/config"
	"callchain/escalation/store"
)

func storeCommands(app *kingpin.Application, commands map[string]command) {
	parent := app.Command("store", "Copy what callchain knows.")

	backup := parent.Command("backup", "Copy all records into a new file, which is an embedded store itself.")
	backupFile, backupExpand, backupOutput := configFlag(backup), expandFlag(backup), outputFlag(backup, "text", "json")
	target := backup.Arg("file", "The new file.").Required().String()
	commands[backup.FullCommand()] = func(ctx context.Context, std streams) error {
		if err := backupTarget(*target); err != nil {
			return err
		}
		return copyCommand(ctx, std, *backupFile, *backupExpand, *backupOutput, "", *target)
	}

	migrate := parent.Command("migrate", "Copy all records from one store into another one that is empty. Stop every callchain that uses them first.")
	migrateFile, migrateExpand, migrateOutput := configFlag(migrate), expandFlag(migrate), outputFlag(migrate, "text", "json")
	from := migrate.Flag("from", "embedded, redis (as in the configuration), or an embedded store's file.").Required().String()
	to := migrate.Flag("to", "The same.").Required().String()
	commands[migrate.FullCommand()] = func(ctx context.Context, std streams) error {
		return copyCommand(ctx, std, *migrateFile, *migrateExpand, *migrateOutput, *from, *to)
	}
}

// backupTarget refuses the words that mean a store of the configuration elsewhere:
// here they would be a file that nobody looks for, or the store itself.
func backupTarget(target string) error {
	if target != embedded && target != inRedis {
		return nil
	}
	return status{notDone, fmt.Sprintf("%s is a kind of store, and a backup is a file: name the file (./%[1]s if that is its name). To copy into the %[1]s store of the configuration use callchain store migrate --from ... --to %[1]s", target)}
}

// copied is the result of a copy for programs.
type copied struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Records int    `json:"records"`
	Damaged bool   `json:"damaged"` // some were left out
}

// copyCommand copies from one store into another; from "" is the one in use.
func copyCommand(ctx context.Context, std streams, file string, expand bool, output, from, to string) (err error) {
	c, ps := config.Load(file, config.Options{ExpandEnv: expand})
	printProblems(std.err, ps.Errors())
	if ps.Err() != nil {
		return status{notDone, "the configuration is refused, see above"}
	}
	if from == "" {
		from = c.Store.Type.V
	}
	place := func(kind string) string {
		switch kind {
		case embedded:
			return c.Store.Path.V
		case inRedis:
			var addrs []string
			for _, a := range c.Store.Redis.Addrs {
				addrs = append(addrs, a.V)
			}
			return "Redis at " + strings.Join(addrs, ", ")
		}
		return kind
	}
	sum := copied{From: place(from), To: place(to)}
	if sum.From == sum.To {
		return status{notDone, fmt.Sprintf("%s would be copied onto itself", sum.From)}
	}
	if (from == inRedis || to == inRedis) && len(c.Store.Redis.Addrs) == 0 {
		return status{notDone, "store.redis.addrs is missing in " + file}
	}
	if from != inRedis {
		if _, err := os.Stat(sum.From); err != nil {
			return status{notDone, fmt.Sprintf("there is no store at %s to copy from; give --from embedded, redis or the path of a store's file", sum.From)}
		}
	}
	log := promslog.New(&promslog.Config{Writer: std.err})
	open := func(kind string) (store.Store, error) {
		st, err := openStore(ctx, c, kind, log)
		if err != nil {
			return nil, fmt.Errorf("%w\nA callchain that runs on it must be stopped first", err)
		}
		return st, nil
	}
	src, err := open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := finished(ctx, src); err != nil {
		return err
	}
	dst, err := open(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()

	sum.Records, err = copyStore(ctx, src, dst)
	sum.Damaged = errors.Is(err, store.ErrCorrupt)
	if err != nil && !sum.Damaged {
		return fmt.Errorf("copy %s to %s: %w", sum.From, sum.To, err)
	}
	if err := printCopied(std.out, sum, output); err != nil {
		return err
	}
	if sum.Damaged {
		return status{bad, fmt.Sprintf("damaged records were left out: %v", err)}
	}
	return nil
}

func printCopied(w io.Writer, sum copied, output string) error {
	if output == "json" {
		return printJSON(w, sum)
	}
	_, err := fmt.Fprintf(w, "%d records copied from %s to %s\n", sum.Records, sum.From, sum.To)
	return err
}

// unfinished is a record that a store has while it is being copied into.
var unfinished = store.Key{Partition: 0, ID: "unfinished-copy"}

// finished refuses a store that is half of another one.
func finished(ctx context.Context, st store.Store) error {
	rs, err := st.Load(ctx, unfinished.Partition, unfinished.ID)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	if rs[0].Version != 0 {
		return errors.New("this store is an unfinished copy of another one: run callchain store migrate (or backup) again, it starts over")
	}
	return nil
}

// How much of a partition is written at once.
const (
	copyRecords = 64
	copyBytes   = 1 << 20
)

// copyStore copies all records with their wake-ups into a store that is empty,
// or holds a copy that was interrupted: that one is emptied first. Damaged
// records are left out, and told of by store.ErrCorrupt when all others are there.
func copyStore(ctx context.Context, from, to store.Store) (records int, err error) {
	rs, err := to.Load(ctx, unfinished.Partition, unfinished.ID)
	if err != nil {
		return 0, err
	}
	if rs[0].Version != 0 {
		if err := empty(ctx, to); err != nil {
			return 0, fmt.Errorf("remove the copy that was interrupted: %w", err)
		}
	} else {
		some := false
		if err := to.Scan(ctx, "", func(store.Record) bool { some = true; return false }); err != nil {
			return 0, err
		}
		if some {
			return 0, errors.New("the target is not empty: choose another file, key_prefix or server")
		}
		if err := commit(ctx, to, unfinished.Partition, store.Write{ID: unfinished.ID, Data: []byte{}}); err != nil {
			return 0, err
		}
	}

	type batch struct {
		writes []store.Write
		bytes  int
	}
	var batches [store.Partitions]batch
	flush := func(p uint8) error {
		b := &batches[p]
		if len(b.writes) == 0 {
			return nil
		}
		err := commit(ctx, to, p, b.writes...)
		*b = batch{}
		return err
	}
	var failed error
	damaged := from.Scan(ctx, "", func(r store.Record) bool {
		b := &batches[r.Key.Partition]
		b.writes = append(b.writes, store.Write{ID: r.Key.ID, Data: r.Data, Wake: r.Wake})
		b.bytes += len(r.Data)
		records++
		if len(b.writes) >= copyRecords || b.bytes >= copyBytes {
			failed = flush(r.Key.Partition)
		}
		return failed == nil
	})
	if failed != nil {
		return records, failed
	}
	if damaged != nil && !errors.Is(damaged, store.ErrCorrupt) {
		return records, damaged
	}
	for p := range batches {
		if err := flush(uint8(p)); err != nil {
			return records, err
		}
	}

	arrived := -1 // the record that says unfinished
	if err := to.Scan(ctx, "", func(store.Record) bool { arrived++; return true }); err != nil {
		return records, fmt.Errorf("read the copy: %w", err)
	}
	if arrived != records {
		return records, fmt.Errorf("%d records were copied, and %d are there: something else writes to the target", records, arrived)
	}
	rs, err = to.Load(ctx, unfinished.Partition, unfinished.ID)
	if err != nil {
		return records, err
	}
	if err := commit(ctx, to, unfinished.Partition, store.Write{ID: unfinished.ID, Expect: rs[0].Version}); err != nil {
		return records, err
	}
	return records, damaged
}

// empty deletes everything but the record that says unfinished.
func empty(ctx context.Context, st store.Store) error {
	var failed error
	err := st.Scan(ctx, "", func(r store.Record) bool {
		if r.Key != unfinished {
			failed = commit(ctx, st, r.Key.Partition, store.Write{ID: r.Key.ID, Expect: r.Version})
		}
		return failed == nil
	})
	return errors.Join(failed, err)
}

func commit(ctx context.Context, st store.Store, partition uint8, writes ...store.Write) error {
	x := store.Txn{Partition: partition, Writes: writes}
	_, _ = rand.Read(x.Mark[:]) // never fails
	return st.Commit(ctx, x)
}
