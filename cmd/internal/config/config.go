// Package config fills the daemons' configuration from environment variables
// and explains them. The variables are the env tags on the fields of the
// packages' own Config structs and nothing else, so that what is documented is
// read and what is read is documented. Only commands import it.
//
// It refuses what it does not know: a variable with our prefix that no field
// names is a fault, and so is a value that does not parse. Faults are collected,
// never returned one by one, and each names its variable.
//
// The tags of a field:
//
//	env:"NAME"        the variable without its prefix; ",required" after it
//	envDefault:"…"    its value where the variable is not set
//	default:"…"       what --help calls a default that is not a plain value
//	help:"…"          what it means, as half a sentence
//	unit:"bytes"      a byte size: a number with a unit, as in 64MiB
//	secret:"true"     its value appears in no message
//	noprefix:"true"   the name is a standard of others and has no prefix of ours
//	instead:"NAME"    another variable, likewise without a prefix, that wins over it
//
// A struct without an env tag is walked into, with envPrefix before its names;
// env:"-" keeps a field out.
package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/caarlos0/env/v10"
)

// Prefix begins every variable of ours.
const Prefix = "SALLYPORT_"

// Load fills the structs, each given by pointer, from an environment such as
// os.Environ returns. A variable that is set but empty counts as not set,
// because that is what a template with nothing to say writes. A field whose
// variable is at fault keeps its default.
func Load(environ []string, structs ...any) *Faults {
	return LoadBeside(environ, nil, structs...)
}

// LoadBeside is Load for one of several programs. others are the variables that
// only another one reads, each with the words that name that program.
func LoadBeside(environ []string, others map[string]string, structs ...any) *Faults {
	values := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	faults := &Faults{}
	fields := fieldsOf(structs)
	for _, f := range fields {
		f.load(values, faults)
	}
	findUnknown(values, fields, others, faults)
	return faults
}

// load sets the field to its default first and to the variable's value then.
func (f field) load(values map[string]string, faults *Faults) {
	if f.Default != "" {
		if err := f.parse(f.Default); err != nil {
			panic(fmt.Sprintf("%s: its default %q: %v", f.Name, f.Default, err))
		}
	}
	name, value := f.Name, values[f.Name]
	if other := values[f.Instead]; other != "" {
		name, value = f.Instead, other
	}
	if value == "" {
		if f.Required {
			faults.add(f.Name, "required, and not set")
		}
		return
	}
	if err := f.parse(value); err != nil {
		if f.secret {
			faults.add(name, "malformed (its value is secret and not shown)")
			return
		}
		faults.add(name, explain(err))
	}
}

// parse sets the field by way of a struct that holds it alone. The parser names
// a faulty field, not its variable, and two structs may have fields of one name.
func (f field) parse(value string) error {
	alone := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Value",
		Type: f.value.Type(),
		Tag:  `env:"V"`,
	}}))
	err := env.ParseWithOptions(alone.Interface(), env.Options{
		Environment: map[string]string{"V": value},
		FuncMap:     f.parsers(),
	})
	if err == nil {
		f.value.Set(alone.Elem().Field(0))
	}
	return err
}
