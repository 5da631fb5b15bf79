package engine

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/routing/report"
)

// Old and new run side by side over one store: what the newer one wrote the older
// one leaves to it, and no timer is late for that by more than a second.
func TestOldAndNewSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack, email := &fake{}, &fake{}
		older := startAs(t, st.Open(), slack, email, escalation.Schema)
		newer := startAs(t, st.Open(), slack, email, escalation.Schema+1)
		began := time.Now()
		const incidents = 20
		for n := range incidents {
			if err := newer.Webhook(t.Context(), "main", webhook(fmt.Sprint("New", n), "parsoid", "page", true, began)); err != nil {
				t.Fatal(err)
			}
			if err := older.Webhook(t.Context(), "main", webhook(fmt.Sprint("Older", n), "parsoid", "page", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		list, _, err := newer.Incidents(t.Context(), Filter{})
		if err != nil || len(list) != 2*incidents {
			t.Fatalf("the newer one lists %d incidents, %v", len(list), err)
		}
		own := list[slices.IndexFunc(list, func(inc escalation.Incident) bool { return inc.Schema == escalation.Schema+1 })]
		if err := older.Webhook(t.Context(), "main", webhook("New3", "parsoid", "page", false, began)); !errors.Is(err, errNewer) {
			t.Errorf("the older one took a webhook of a newer group: %v; want it to come again, to the other", err)
		}
		if _, _, err := older.Do(t.Context(), own.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); !errors.Is(err, errNewer) {
			t.Errorf("the older one acknowledged what it must not change: %v", err)
		}

		time.Sleep(27 * time.Minute) // pages to one person are a second apart
		if list, _, err = newer.Incidents(t.Context(), Filter{}); err != nil {
			t.Fatal(err)
		}
		for _, inc := range list {
			if late := inc.StepAt.Time().Sub(began) - 25*time.Minute; late < 0 || late > time.Second {
				t.Errorf("%s took step 2 %v after its time", inc.ID, late)
			}
		}
		if got := slack.pages(); len(got) != 2*2*incidents {
			t.Errorf("%d pages; want each incident's two", len(got))
		}
		if got := email.notices(); len(got) > 0 {
			t.Errorf("people are told %q; want nothing, somebody newer is there", got)
		}
		if err := older.Able(t.Context()); err != nil && strings.Contains(err.Error(), "newer") {
			t.Error(err)
		}
		if _, _, err := newer.Do(t.Context(), own.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); err != nil {
			t.Error(err)
		}
	})
}

// After a step back to an older version nothing newer is touched, people are told,
// and what fires is paged about all the same.
func TestNobodyNewerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		newer := startAs(t, st.Open(), &fake{}, &fake{}, escalation.Schema+1)
		began := time.Now()
		w := webhook("Slow", "parsoid", "page", true, began)
		if err := newer.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		inc := only(t, newer.Engine)
		time.Sleep(time.Minute)
		newer.stop()

		older := startAs(t, st.Open(), &fake{}, &fake{}, escalation.Schema)
		refused := 0
		for older.Webhook(t.Context(), "main", w) != nil { // as Alertmanager does
			refused++
			time.Sleep(10 * time.Second)
		}
		if refused != 6 {
			t.Errorf("the webhook was refused %d times, want for a minute", refused)
		}
		time.Sleep(time.Second)
		if got := older.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged %v; want ana, by an incident of its own", got)
		}
		time.Sleep(time.Hour)
		recs, err := st.Load(t.Context(), partitionOf(t, inc.ID), "i/"+inc.ID)
		if err != nil {
			t.Fatal(err)
		}
		var left escalation.Incident
		if err := record.Decode(recs[0].Data, &left); err != nil || left.Schema != escalation.Schema+1 || left.State != escalation.Triggered {
			t.Errorf("the newer record is %+v, %v; want it as it was", left, err)
		}
		if got := older.email.notices(); len(got) == 0 || got[0] != "Incidents wait for a newer version of callchain" || len(got) > 2 {
			t.Errorf("people are told %q; want once an hour that something waits", got)
		}
	})
}

// What a newer callchain adds to a record, under the same schema, an older one keeps
// whatever it changes.
func TestUnknownFieldsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		id := only(t, b.Engine).ID
		partition := partitionOf(t, id)
		var keys []string
		if err := st.Scan(t.Context(), "", func(rec store.Record) bool {
			if kind, _, _ := cutKind(rec.Key.ID); kind == "i" || kind == "g" || kind == "f" {
				keys = append(keys, rec.Key.ID)
			}
			return true
		}); err != nil || len(keys) != 3 {
			t.Fatalf("records %q, %v", keys, err)
		}
		for _, key := range keys {
			recs, err := st.Load(t.Context(), partition, key)
			if err != nil {
				t.Fatal(err)
			}
			fields := plain(t, recs[0].Data)
			fields["newfield"] = "kept"
			for _, name := range []string{"de", "tl", "al"} {
				for _, d := range list(fields[name]) {
					d["within"] = "kept"
				}
			}
			data, err := record.Encode(fields)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, st, partition, key, data, recs[0].Wake)
		}
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "unbreak_now", true, began)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Do(t.Context(), id, escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Via: "api"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "unbreak_now", false, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if inc := only(t, b.Engine); inc.State != escalation.Resolved || inc.Ack == nil {
			t.Fatalf("the incident is %s", inc.Summary())
		}
		for _, key := range keys {
			recs, err := st.Load(t.Context(), partition, key)
			if err != nil {
				t.Fatal(err)
			}
			fields := plain(t, recs[0].Data)
			if fields["newfield"] != "kept" {
				t.Errorf("%s lost what was new in it: %v", key, fields)
			}
			if key[0] != 'i' {
				continue
			}
			for name, want := range map[string]int{"de": 2, "tl": 2, "al": 1} {
				kept := 0
				for _, d := range list(fields[name]) {
					if d["within"] == "kept" {
						kept++
					}
				}
				if kept < want {
					t.Errorf("%s: %d of its %s kept what was new in them, want %d: %v", key, kept, name, want, fields[name])
				}
			}
		}
	})
}

// plain is a record as a program that knows nothing of it sees it.
func plain(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := record.Decode(data, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func list(of any) (maps []map[string]any) {
	elements, _ := of.([]any)
	for _, e := range elements {
		if m, ok := e.(map[string]any); ok {
			maps = append(maps, m)
		}
	}
	return maps
}

var newGolden = flag.Bool("golden", false, "write the records of a schema that has none yet")

// Records that a released callchain wrote are read for ever, and mean what they
// meant: testdata/records has a folder for each schema, of which no file is ever
// changed. A new schema needs a new one: go test ./escalation/engine -run TestGoldenRecords -golden
func TestGoldenRecords(t *testing.T) {
	kinds := map[string]any{
		"incident": &escalation.Incident{}, "group": &escalation.Group{}, "facts": &report.Facts{},
		"heartbeat": &escalation.Heartbeat{}, "watch": &escalation.Watch{}, "weekly": &weeklyRecord{},
		"desk": &escalation.Desk{}, "digest": &escalation.Incident{}, "allowance": &escalation.Allowance{},
	}
	now := filepath.Join("testdata", "records", fmt.Sprint("schema", escalation.Schema))
	if *newGolden {
		if err := os.Mkdir(now, 0o755); err != nil {
			t.Fatal(err)
		}
		for kind, v := range kinds {
			writeGolden(t, filepath.Join(now, kind), v)
		}
	}
	folders, err := filepath.Glob(filepath.Join("testdata", "records", "schema*"))
	if err != nil || !slices.Contains(folders, now) || report.Schema > escalation.Schema {
		t.Fatalf("there are %q, %v; none of schema %d", folders, err, escalation.Schema)
	}
	e := &Engine{schema: escalation.Schema}
	for _, folder := range folders {
		for kind, empty := range kinds {
			t.Run(filepath.Base(folder)+"/"+kind, func(t *testing.T) {
				v := reflect.New(reflect.TypeOf(empty).Elem())
				schema := v.Elem().FieldByName("Schema").Addr().Interface().(*int)
				data, err := hex.DecodeString(strings.ReplaceAll(read(t, filepath.Join(folder, kind+".hex")), "\n", ""))
				if err != nil {
					t.Fatal(err)
				}
				foreign, err := e.read(store.Record{Key: store.Key{ID: "i/golden"}, Data: data}, v.Interface(), schema)
				if err != nil || foreign {
					t.Fatalf("today's code cannot read it: foreign fields %v, %v", foreign, err)
				}
				got, err := json.MarshalIndent(v.Interface(), "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(read(t, filepath.Join(folder, kind+".json")), string(got)+"\n"); diff != "" {
					t.Errorf("it does not mean any more what it meant (-then +now):\n%s", diff)
				}
			})
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// writeGolden writes a record of which every field is set to something of its own.
func writeGolden(t *testing.T, base string, v any) {
	t.Helper()
	fill(reflect.ValueOf(v).Elem(), new(int))
	reflect.ValueOf(v).Elem().FieldByName("Schema").SetInt(escalation.Schema)
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	switch v.(type) {
	case *escalation.Watch, *weeklyRecord:
		data, err = json.Marshal(v) // as they are written
	default:
		data, err = record.Encode(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := hex.EncodeToString(data)
	var folded strings.Builder
	for len(lines) > 0 {
		n := min(120, len(lines))
		folded.WriteString(lines[:n] + "\n")
		lines = lines[n:]
	}
	for ext, content := range map[string]string{".hex": folded.String(), ".json": string(text) + "\n"} {
		if err := os.WriteFile(base+ext, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if at, ok := v.Addr().Interface().(*escalation.Episode); ok {
			*at = escalation.Episode{Fingerprint: uint64(*n), StartsAt: 1795165200000, Urgency: "page"}
			return
		}
		if at, ok := v.Addr().Interface().(*time.Time); ok {
			*at = time.Date(2026, 11, 20, 9, 0, *n%60, 0, time.UTC)
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type().Field(i).Tag.Get("json") != "-" {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprint("value ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(1<<60 + uint64(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	default:
		panic("a record has a " + v.Kind().String())
	}
}
