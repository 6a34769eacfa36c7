package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Variable is one environment variable as its field's tags describe it.
type Variable struct {
	Name     string // with its prefix
	Instead  string // the name of a variable that wins over it; "" where there is none
	Default  string // "" where there is none
	Shown    string // the default for people: Default, or words for what is no plain value
	Help     string
	Required bool
}

// Variables lists what Load would read, in the order of the fields.
func Variables(structs ...any) []Variable {
	var out []Variable
	for _, f := range fieldsOf(structs) {
		out = append(out, f.Variable)
	}
	return out
}

type field struct {
	Variable
	value  reflect.Value
	bytes  bool
	secret bool
}

// fieldsOf walks the structs. A mistake in a tag is one of ours and panics; a
// test walks every struct that a daemon loads.
func fieldsOf(structs []any) []field {
	var out []field
	for _, s := range structs {
		v := reflect.ValueOf(s)
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			panic(fmt.Sprintf("config: %T is no pointer to a struct", s))
		}
		out = walk(out, v.Elem(), "")
	}
	seen := make(map[string]bool, len(out))
	for _, f := range out {
		if seen[f.Name] {
			panic("config: two fields read " + f.Name)
		}
		seen[f.Name] = true
	}
	return out
}

func walk(out []field, v reflect.Value, prefix string) []field {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if !sf.IsExported() {
			continue
		}
		tag, tagged := sf.Tag.Lookup("env")
		switch {
		case tag == "-":
		case tagged:
			out = append(out, newField(sf, v.Field(i), prefix, tag))
		case sf.Type.Kind() == reflect.Struct:
			out = walk(out, v.Field(i), prefix+sf.Tag.Get("envPrefix"))
		}
	}
	return out
}

func newField(sf reflect.StructField, v reflect.Value, prefix, tag string) field {
	name, option, _ := strings.Cut(tag, ",")
	if option != "" && option != "required" {
		panic(fmt.Sprintf("config: %s: option %q", name, option))
	}
	name = prefix + name
	if sf.Tag.Get("noprefix") != "true" {
		name = Prefix + name
	}
	f := field{
		Variable: Variable{
			Name:     name,
			Instead:  sf.Tag.Get("instead"),
			Default:  sf.Tag.Get("envDefault"),
			Shown:    sf.Tag.Get("default"),
			Help:     sf.Tag.Get("help"),
			Required: option == "required",
		},
		value:  v,
		bytes:  sf.Tag.Get("unit") == "bytes",
		secret: sf.Tag.Get("secret") == "true",
	}
	if f.Shown == "" {
		f.Shown = f.Default
	}
	if f.Help == "" {
		panic("config: no help on " + name)
	}
	return f
}

// ownParser tells whether the field's type reads its text itself.
func (f field) ownParser() bool {
	_, ok := f.value.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}
