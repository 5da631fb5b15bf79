package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options change how a configuration is loaded.
type Options struct {
	ExpandEnv bool // replace ${NAME} in secrets and URLs
	NoSecrets bool // do not look at secret files: for commands that send and verify nothing
}

// Load reads, completes and checks callchain.yml. The Config is never nil, so
// that a command can use what could be read; with errors among the problems
// (Problems.Err) it must not serve.
func Load(path string, opts Options) (*Config, Problems) {
	data, err := os.ReadFile(path)
	if err != nil {
		var ps Problems
		ps.Errorf(Pos{File: path}, "read the configuration: %v; name another with --config.file", pathless(err))
		return &Config{File: path}, ps
	}
	return parseConfig(path, data, opts)
}

func parseConfig(path string, data []byte, opts Options) (*Config, Problems) {
	c := &Config{File: path, expandEnv: opts.ExpandEnv}
	d := decodeFile(path, data, c)
	// A file that is no YAML would only be told that everything is missing.
	if !d.unreadable {
		c.complete()
		var found Problems
		ck := checker{c: c, opts: opts, ps: &found}
		ck.all()
		d.checked(found)
	}
	return c, tidy(d.problems, data)
}

// Path resolves a path of the configuration against the folder of its file.
func (c *Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(c.File), p)
}

// File is a file of the catalog as it was read.
type File struct {
	Name string
	Data []byte
}

// LoadCatalog reads and parses the files that the patterns name, as they stand
// in Config.CatalogFiles.
func LoadCatalog(patterns []At[string]) (*Catalog, Problems) {
	files, ps := ReadCatalog(patterns)
	c, more := ParseCatalog(files)
	return c, append(ps, more...)
}

// ReadCatalog reads the files that the patterns name, each once, in the order
// of the patterns and within one by name. A pattern that finds nothing is a
// warning, a file that is not there an error.
func ReadCatalog(patterns []At[string]) ([]File, Problems) {
	var files []File
	var ps Problems
	seen := map[string]bool{}
	for _, p := range patterns {
		paths := []string{p.V}
		if strings.ContainsAny(p.V, `*?[`) {
			found, err := filepath.Glob(p.V)
			if err != nil {
				ps.Errorf(p.Pos, "catalog_files: %s is not a pattern that can be matched: %v", quote(p.V), err)
				continue
			}
			paths = slices.DeleteFunc(found, isDir)
			if len(paths) == 0 {
				ps.Warnf(p.Pos, "catalog_files: %s matches no file", quote(p.V))
			}
		}
		for _, path := range paths {
			path = filepath.Clean(path)
			if seen[path] {
				continue
			}
			seen[path] = true
			data, err := os.ReadFile(path)
			if err != nil {
				ps.Errorf(p.Pos, "catalog_files: read %s: %v; make the file readable or correct its path", path, pathless(err))
				continue
			}
			files = append(files, File{path, data})
		}
	}
	return files, ps
}

// ReadCatalogFiles reads catalog files named on a command line.
func ReadCatalogFiles(paths ...string) ([]File, Problems) {
	var files []File
	var ps Problems
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			ps.Errorf(Pos{File: path}, "read the catalog file: %v", pathless(err))
			continue
		}
		files = append(files, File{path, data})
	}
	return files, ps
}

// ParseCatalog merges the files in their order into one catalog. It checks
// shapes and single values; names, references and ownership are checked by
// routing/catalog. The Catalog is never nil; with errors it is incomplete.
func ParseCatalog(files []File) (*Catalog, Problems) {
	all := &Catalog{}
	var ps Problems
	for _, f := range files {
		var c Catalog
		d := decodeFile(f.Name, f.Data, &c)
		var found Problems
		checkCatalog(&c, &found)
		d.checked(found)
		ps = append(ps, tidy(d.problems, f.Data)...)
		all.People = append(all.People, c.People...)
		all.Teams = append(all.Teams, c.Teams...)
		all.Schedules = append(all.Schedules, c.Schedules...)
		all.Services = append(all.Services, c.Services...)
	}
	for _, u := range unbuiltCatalog {
		if pos := u.at(all); pos.Line != 0 {
			ps.Warnc(CodeUnbuilt, pos, "%s", u.text)
		}
	}
	ps.Sort()
	return all, ps
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// pathless is the error without the path, which the message names itself.
func pathless(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return err
}
