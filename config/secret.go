package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// hidden is all that a Secret ever shows.
const hidden = "<secret>"

// maxSecretFile bounds what is read of a secret file.
const maxSecretFile = 1 << 20

// secretCheckEvery is how often a secret file is looked at for changes.
const secretCheckEvery = time.Second

// Secret is the content of a secret file: one secret per line. It follows the
// file when it changes, keeps the last good content when a later read fails,
// and never prints. It is safe for concurrent use.
type Secret struct {
	path   string
	expand bool

	mu      sync.Mutex
	lines   []string
	err     error // of the last read
	seen    os.FileInfo
	checked time.Time
}

// NewSecretFile gives the secret kept in a file. The file is read at first use.
func NewSecretFile(path string) *Secret { return &Secret{path: path} }

// Secret gives the secret that a *_file key names, nil if the key is not set.
// ${NAME} in it is replaced if the configuration was loaded so.
func (c *Config) Secret(file At[string]) *Secret {
	if file.V == "" {
		return nil
	}
	return &Secret{path: file.V, expand: c.expandEnv}
}

// Lines are all secrets of the file: any of them verifies. While a changed file
// cannot be read the last good ones are returned and Err tells why.
func (s *Secret) Lines() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(time.Now())
	if len(s.lines) == 0 {
		return nil, s.err
	}
	return slices.Clone(s.lines), nil
}

// First is the secret to sign or send with.
func (s *Secret) First() (string, error) {
	lines, err := s.Lines()
	if err != nil {
		return "", err
	}
	return lines[0], nil
}

// Matches tells, in constant time, whether the given text is one of the secrets.
func (s *Secret) Matches(given string) (bool, error) {
	lines, err := s.Lines()
	if err != nil {
		return false, err
	}
	sum, found := sha256.Sum256([]byte(given)), 0
	for _, line := range lines {
		want := sha256.Sum256([]byte(line))
		found |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return found == 1, nil
}

// Err is the error of the last read, nil when the content is current.
func (s *Secret) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Secret) refresh(now time.Time) {
	if !s.checked.IsZero() && now.Sub(s.checked).Abs() < secretCheckEvery {
		return
	}
	s.checked = now
	info, err := os.Stat(s.path)
	if err == nil && s.err == nil && s.seen != nil && os.SameFile(info, s.seen) &&
		info.Size() == s.seen.Size() && info.ModTime().Equal(s.seen.ModTime()) {
		return
	}
	lines, err := readSecret(s.path, s.expand)
	s.err = err
	if err == nil {
		s.lines, s.seen = lines, info
	}
}

// readSecret reads a secret file. Its errors never hold the content.
func readSecret(path string, expand bool) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read secret file: %w", err)
	}
	// Opening a pipe or a device might never return.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read secret file: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read secret file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secret file: %w", err)
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("read secret file: %s is larger than 1 MiB", path)
	}
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		if expand {
			if line, err = expandEnv(line); err != nil {
				return nil, fmt.Errorf("read secret file %s: %w", path, err)
			}
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("read secret file: %s is empty; write the secret into it", path)
	}
	return lines, nil
}

var envName = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expandEnv replaces ${NAME} by the environment's values.
func expandEnv(s string) (string, error) {
	var errs []error
	out := envName.ReplaceAllStringFunc(s, func(ref string) string {
		name := envName.FindStringSubmatch(ref)[1]
		v, ok := os.LookupEnv(name)
		if !ok {
			errs = append(errs, fmt.Errorf("environment variable %s is not set", name))
		}
		return v
	})
	return out, errors.Join(errs...)
}

func (s *Secret) String() string { return hidden }

// GoString keeps %#v from looking inside.
func (s *Secret) GoString() string { return hidden }

// Format keeps every other verb from looking inside.
func (s *Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText keeps encoders from looking inside.
func (s *Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue keeps loggers from looking inside.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
