package record

import (
	"fmt"
	"reflect"
)

// Over is Encode of what becomes of a record: what v, a pointer to a struct, has no
// place for stays as it was in old, also within structures and lists of them. It is
// for records of which Read said that they have such fields.
func Over(old []byte, v any) ([]byte, error) {
	was := reflect.New(reflect.TypeOf(v).Elem()).Interface()
	if err := Decode(old, was); err != nil {
		return nil, err
	}
	whole, err := tree(old)
	if err != nil {
		return nil, err
	}
	known, err := treeOf(was)
	if err != nil {
		return nil, err
	}
	next, err := treeOf(v)
	if err != nil {
		return nil, err
	}
	carry(whole, known, next)
	return Encode(next)
}

// tree is a record without the types of Go.
func tree(data []byte) (t map[string]any, err error) {
	err = Decode(data, &t)
	return t, err
}

func treeOf(v any) (map[string]any, error) {
	data, err := Encode(v)
	if err != nil {
		return nil, err
	}
	return tree(data)
}

// carry puts into next what whole has, and known, which is whole without the
// fields that nobody here knows, has not.
func carry(whole, known, next any) {
	switch whole := whole.(type) {
	case map[string]any:
		known, _ := known.(map[string]any)
		next, ok := next.(map[string]any)
		if !ok {
			return
		}
		for name, value := range whole {
			k, isKnown := known[name]
			n, isThere := next[name]
			switch {
			case isThere:
				carry(value, k, n)
			case !isKnown:
				next[name] = value
			}
		}
	case []any:
		known, next := byIdentity(known), byIdentity(next)
		for of, value := range byIdentity(whole) {
			if n, ok := next[of]; ok {
				carry(value, known[of], n)
			}
		}
	}
}

// identities are the fields by which the elements of a record's lists are told
// apart, the first that an element has: a delivery's id, the number of a line of
// the timeline, an alert's fingerprint, who was paged. Elements without one keep
// nothing that is not known.
var identities = []string{"i", "q", "f", "h"}

func byIdentity(list any) map[string]any {
	elements, _ := list.([]any)
	by := make(map[string]any, len(elements))
	for _, e := range elements {
		fields, _ := e.(map[string]any)
		for _, name := range identities {
			if id, ok := fields[name]; ok {
				by[fmt.Sprint(name, " ", id)] = e
				break
			}
		}
	}
	return by
}
