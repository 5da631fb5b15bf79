package config

// Code is the lasting name of a kind of problem, like CC0102. It is set where
// the problem is made; what each means, and how it is cured, stands in
// docs/lint.md. Problems that only callchain.yml can have carry none.
type Code string

// The codes of what a catalog file says, value by value. Those of names, roles,
// matchers and chains are made further up.
const (
	CodeSyntax  Code = "CC0101" // the file is no YAML
	CodeKey     Code = "CC0102" // a key nobody reads
	CodeForm    Code = "CC0103" // a value of another form than its key wants
	CodeTwice   Code = "CC0104" // a key given twice
	CodeMissing Code = "CC0105" // a key that must be there
	CodeValue   Code = "CC0106" // a value that cannot be meant
	CodeOdd     Code = "CC0107" // a value that is probably not meant
	CodeUnbuilt Code = "CC0108" // a key that has no effect yet
)
