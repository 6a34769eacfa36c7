package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
)

// parsers says how the field's text is read where the env package's own way
// would not do: it takes numbers of bytes without a unit, keeps the blanks in a
// list, and its messages do not help an operator.
func (f field) parsers() map[reflect.Type]env.ParserFunc {
	kind := f.value.Type()
	if f.ownParser() {
		return nil
	}
	if f.bytes {
		return map[reflect.Type]env.ParserFunc{kind: func(text string) (any, error) {
			n, err := parseBytes(text)
			return reflect.ValueOf(n).Convert(kind).Interface(), err
		}}
	}
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[time.Duration](): func(text string) (any, error) { return parseDuration(text) },
		reflect.TypeFor[[]string]():      func(text string) (any, error) { return parseList(text) },
	}
}

// explain reduces an error of the env package to what an operator needs: the
// variable's name stands before it already.
func explain(err error) string {
	var all env.AggregateError
	if errors.As(err, &all) && len(all.Errors) == 1 {
		err = all.Errors[0]
	}
	var parse env.ParseError
	if errors.As(err, &parse) {
		err = parse.Err
	}
	var number *strconv.NumError
	if errors.As(err, &number) {
		kind := "a whole number"
		if number.Func == "ParseBool" {
			kind = "true or false"
		}
		if errors.Is(number.Err, strconv.ErrRange) {
			return fmt.Sprintf("%s is too large", quote(number.Num))
		}
		return fmt.Sprintf("%s, want %s", quote(number.Num), kind)
	}
	return err.Error()
}

// quote keeps a message to one line of a bearable length, whatever was set.
func quote(text string) string {
	const most = 64
	if len(text) > most {
		return strconv.Quote(text[:most]) + "…"
	}
	return strconv.Quote(text)
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s, want a duration with its unit, as in 10s or 2m", quote(text))
	}
	return d, nil
}

func parseList(text string) ([]string, error) {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
		if parts[i] == "" {
			return nil, fmt.Errorf("%s, want values separated by single commas", quote(text))
		}
	}
	return parts, nil
}

// units has the binary ones first, because "B" ends every one of them.
var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// parseBytes reads a whole number with a unit, binary (KiB, MiB, GiB, TiB) or
// decimal (kB, MB, GB, TB), or B. A bare number is refused, because nobody can
// tell whether its author thought of bytes or of megabytes.
func parseBytes(text string) (int64, error) {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil {
			break
		}
		if n > uint64(math.MaxInt64/unit.size) {
			return 0, fmt.Errorf("%s is too large", quote(text))
		}
		return int64(n) * unit.size, nil
	}
	return 0, fmt.Errorf("%s, want a whole number with its unit, as in 64MiB or 1GB", quote(text))
}
