package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// loaded is a configuration with its catalog, as far as they could be read.
type loaded struct {
	cfg     *config.Config
	files   []config.File // of the catalog
	raw     *config.Catalog
	cat     *catalog.Catalog
	router  *routing.Router
	own     config.Problems // of callchain.yml
	catalog config.Problems // of the catalog, and of the two together
}

// problems are all of them, in the order of their places.
func (l *loaded) problems() config.Problems {
	all := append(append(config.Problems{}, l.own...), l.catalog...)
	all.Sort()
	return all
}

// load reads and checks everything. Without errors among the problems the
// router is there.
func load(path string, opts config.Options) *loaded {
	l := &loaded{}
	l.cfg, l.own = config.Load(path, opts)
	var files []config.File
	files, l.catalog = config.ReadCatalog(l.cfg.CatalogFiles)
	l.compile(files)
	return l
}

// compile checks the files of a catalog and puts them together with the
// configuration. A mistake does not hide those that a later check finds: what
// could be read is checked as far as that says something.
func (l *loaded) compile(files []config.File) {
	l.files = files
	var ps config.Problems
	l.raw, ps = config.ParseCatalog(files)
	l.catalog = append(l.catalog, ps...)
	misread := l.catalog.Err() != nil
	cat, ps := catalog.New(l.raw)
	if misread {
		l.catalog = append(l.catalog, further(ps, l.catalog)...)
		return
	}
	l.catalog = append(l.catalog, ps...)
	if l.catalog.Err() != nil {
		return
	}
	l.cat = cat
	if l.own.Err() == nil {
		l.router, ps = routing.New(l.cfg, cat)
		l.catalog = append(l.catalog, ps...)
	} else if len(files) > 0 {
		_, ps = routing.New(l.cfg, cat)
		l.catalog = append(l.catalog, further(ps, l.own)...)
	}
}

// further are the errors that a check found in what was read only in part.
// Warnings, and errors about what stands nowhere or was told already, may only
// follow from what could not be read.
func further(found, told config.Problems) config.Problems {
	at := map[config.Pos]bool{}
	for _, p := range told.Errors() {
		at[p.Pos] = true
	}
	return slices.DeleteFunc(found.Errors(), func(p config.Problem) bool { return p.Pos.Line == 0 || at[p.Pos] })
}

// lastGood is the catalog that was last in force, kept beside the store: a
// pager must come up although somebody broke the catalog meanwhile.
type lastGood struct{ path string }

func lastGoodBeside(store string) lastGood { return lastGood{store + ".catalog"} }

type keptFile struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// read returns the files that were kept; fs.ErrNotExist when there are none.
func (g lastGood) read() ([]config.File, error) {
	data, err := os.ReadFile(g.path)
	if err != nil {
		return nil, fmt.Errorf("read the last good catalog: %w", err)
	}
	var kept []keptFile
	if err := json.Unmarshal(data, &kept); err != nil {
		return nil, fmt.Errorf("read the last good catalog %s: %w", g.path, err)
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("read the last good catalog %s: %w", g.path, fs.ErrNotExist)
	}
	files := make([]config.File, len(kept))
	for i, k := range kept {
		files[i] = config.File{Name: k.Name, Data: k.Data}
	}
	return files, nil
}

// write replaces what is kept, as a whole or not at all.
func (g lastGood) write(files []config.File) error {
	kept := make([]keptFile, len(files))
	for i, f := range files {
		kept[i] = keptFile{f.Name, f.Data}
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("keep the catalog: %w", err)
	}
	if err := replaceFile(g.path, data); err != nil {
		return fmt.Errorf("keep the catalog: %w", err)
	}
	return nil
}

func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // the rename is done; it is only not known to be on disk yet
	}
	defer d.Close()
	_ = d.Sync() // likewise
	return nil
}
