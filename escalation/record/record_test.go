package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/escalation"
	"callchain/routing/report"
)

var update = flag.Bool("update", false, "write the dictionary anew: only for a form that no release has written yet")

// kinds are empty values of everything that is stored.
func kinds() []any {
	return []any{&escalation.Incident{}, &escalation.Group{}, &report.Facts{}}
}

// full sets everything that can be set to something of its own, so that a field
// which gets lost is missed.
func full(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem(), n)
	case reflect.Struct:
		switch at := v.Addr().Interface().(type) {
		case *time.Time:
			*at = time.Date(2026, 11, 20, 9, 0, *n, 123456789, time.UTC)
			return
		case *escalation.Episode:
			*at = escalation.Episode{Fingerprint: uint64(*n), StartsAt: 1795165200000, Urgency: "page"}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				full(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			full(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			full(key, n)
			full(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(strings.Repeat("ü", *n%5) + "<" + hex.EncodeToString([]byte{byte(*n), byte(*n >> 8)}))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) - 1<<40)
	default:
		panic("a record has a " + v.Kind().String())
	}
}

// Nothing of what is stored gets lost, and what an older callchain wrote as JSON
// reads the same.
func TestRoundTrip(t *testing.T) {
	for _, v := range kinds() {
		t.Run(reflect.TypeOf(v).Elem().Name(), func(t *testing.T) {
			for _, state := range []string{"empty", "full"} {
				if state == "full" {
					full(reflect.ValueOf(v).Elem(), new(int))
				}
				packed, err := Encode(v)
				if err != nil {
					t.Fatal(err)
				}
				again, err := Encode(v)
				if err != nil || !bytes.Equal(packed, again) {
					t.Errorf("%s: equal values have other bytes, or %v", state, err)
				}
				plain, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				for form, data := range map[string][]byte{"packed": packed, "JSON": plain} {
					got := reflect.New(reflect.TypeOf(v).Elem()).Interface()
					if err := Decode(data, got); err != nil {
						t.Fatalf("%s, %s: %v", state, form, err)
					}
					if diff := cmp.Diff(v, got); diff != "" {
						t.Errorf("%s, %s (-want +got):\n%s", state, form, diff)
					}
					text, err := Text(data)
					if err != nil || !strings.Contains(text, `"z"`) {
						t.Errorf("%s, %s: text %q, %v", state, form, text, err)
					}
				}
			}
		})
	}
}

// A field that only a newer callchain knows stops no older one, and who wants
// two fields gets two.
func TestFieldsOfOthers(t *testing.T) {
	newer := map[string]any{"z": 9, "id": "00-a", "nobody knows": []any{map[string]any{"x": 1.5}}, "st": "triggered"}
	data, err := Encode(newer)
	if err != nil {
		t.Fatal(err)
	}
	var inc escalation.Incident
	if err := Decode(data, &inc); err != nil || inc.Schema != 9 || inc.ID != "00-a" {
		t.Errorf("got %+v, %v", inc, err)
	}
	var some struct {
		State string `json:"st"`
	}
	if err := Decode(data, &some); err != nil || some.State != "triggered" {
		t.Errorf("got %+v, %v", some, err)
	}
}

// Text that is not UTF-8, from wherever, does not make a record unreadable.
func TestBrokenText(t *testing.T) {
	want := escalation.Incident{ID: "00-a", Reason: "a\xffb", GroupLabels: map[string]string{"x\xfe": "\xc3"}}
	data, err := Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got escalation.Incident
	if err := Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	good, err := Encode(&escalation.Group{ID: "00ab", Source: "main"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "it is empty"},
		"JSON cut short":  {[]byte(`{"z":1`), "decode a record: unexpected end"},
		"a later form":    {[]byte{7, 1, 2}, "newer callchain (form 7)"},
		"cut short":       {good[:len(good)-3], "decode a record: "},
		"too large":       {[]byte{1, 0xff, 0xff, 0xff, 0xff, 0x07, 0}, "it claims"},
		"no map":          {pack(t, []int{1, 2}), "decode a record: cbor: cannot unmarshal array"},
		"a number for id": {pack(t, map[string]any{"id": 5}), "decode a record: cbor: cannot unmarshal positive integer"},
	} {
		t.Run(name, func(t *testing.T) {
			var g escalation.Group
			if err := Decode(c.data, &g); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func pack(t *testing.T, v any) []byte {
	t.Helper()
	data, err := Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What was written once must stay readable: these bytes are of the first
// callchain that packed records.
func TestWrittenBefore(t *testing.T) {
	want := escalation.Group{
		Schema: 1, ID: "00ab", Source: "main", Labels: map[string]string{"alertname": "HighErrorRate", "job": "node"}, Seq: 3,
		Recorded: escalation.Episodes{{Fingerprint: 7, StartsAt: 1795165200000, Urgency: "record"}}, TouchedAt: 1795165200001,
	}
	const file = "testdata/group.hex"
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(pack(t, &want))+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	var got escalation.Group
	if err := Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDictionary keeps anybody from changing the dictionary of a form that
// records are stored in: they could not be read any more.
func TestDictionary(t *testing.T) {
	const file, want = "dictionary.bin", "77ef4c56d01e1ffc"
	if *update {
		if err := os.WriteFile(file, words(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:8]) != want {
		t.Errorf("the dictionary is another one (%x): a store's records need the one that they were written with; add a form", sum[:8])
	}
}

// Garbage never panics, whatever it is read as, and what can be read can be
// written and read again.
func FuzzDecode(f *testing.F) {
	for _, v := range kinds() {
		full(reflect.ValueOf(v).Elem(), new(int))
		packed, err := Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		plain, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
		f.Add(plain)
		f.Add(packed[:len(packed)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 0 && data[0] == packedCBOR {
			if n, _ := binary.Uvarint(data[1:]); n > 1<<16 && n <= maxSize {
				return // legal, but it takes its time
			}
		}
		_, _ = Text(data) // whatever it says, it returns
		for _, v := range kinds() {
			if Decode(data, v) != nil {
				continue
			}
			packed, err := Encode(v)
			if err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := Decode(packed, again); err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			twice, err := Encode(again)
			if err != nil || !bytes.Equal(packed, twice) {
				t.Errorf("read and written again it is another record, or %v", err)
			}
		}
	})
}

// stored is an open incident with one alert whose page and mail were delivered.
func stored(b *testing.B) (escalation.Incident, []byte) {
	b.Helper()
	plain, err := os.ReadFile("testdata/incident.json")
	if err != nil {
		b.Fatal(err)
	}
	var inc escalation.Incident
	if err := json.Unmarshal(plain, &inc); err != nil {
		b.Fatal(err)
	}
	return inc, plain
}

// Beside each form JSON, which records once were.
func BenchmarkEncode(b *testing.B) {
	inc, _ := stored(b)
	for name, encode := range map[string]func(any) ([]byte, error){"packed": Encode, "json": json.Marshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				data, err := encode(&inc)
				if err != nil {
					b.Fatal(err)
				}
				size = len(data)
			}
			b.ReportMetric(float64(size), "B/record")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	inc, plain := stored(b)
	packed, err := Encode(&inc)
	if err != nil {
		b.Fatal(err)
	}
	for name, data := range map[string][]byte{"packed": packed, "json": plain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var inc escalation.Incident
				if err := Decode(data, &inc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
