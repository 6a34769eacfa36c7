package authz

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// Compile reads the policy in fsys and makes sure that it can decide: it compiles
// strictly and against the schemas of the inputs, it has the rule allow for register
// and for scrape, it answers sample inputs of every action without a fault, and its
// own tests pass. Errors name file and line.
//
// Read are *.rego, *.json, *.yaml and *.yml, at any depth, up to 16 MiB each and
// 64 MiB in all; names that begin with a dot are not, nor is any other file. A data
// file's folder is its place under data. The file data.schema.json at the top is no
// data: it is the JSON schema that all data together must satisfy. Files that end in
// _test.rego take part in the tests alone.
func Compile(ctx context.Context, fsys fs.FS, opts Options) (*Policy, error) {
	return Load(ctx, FolderPlace(fsys, ""), opts)
}

func compileFiles(ctx context.Context, files []file, opts Options) (p *Policy, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("compiling policy: panic: %v", r)
		}
	}()
	src, err := sourceOf(files)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	p, err = src.compile(ctx, opts.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("compiling policy: %w", err)
	}
	if err := p.trySamples(ctx); err != nil {
		return nil, fmt.Errorf("trying policy: %w", err)
	}
	if err := src.runTests(ctx); err != nil {
		return nil, fmt.Errorf("testing policy: %w", err)
	}
	return p, nil
}

// source is a policy as parsed, before anything is compiled.
type source struct {
	revision string
	modules  map[string]*ast.Module
	tests    map[string]*ast.Module
	store    storage.Store
}

func readSource(fsys fs.FS) (*source, error) {
	files, err := readFiles(fsys)
	if err != nil {
		return nil, err
	}
	return sourceOf(files)
}

func sourceOf(files []file) (*source, error) {
	s := &source{
		revision: revisionOf(files),
		modules:  make(map[string]*ast.Module),
		tests:    make(map[string]*ast.Module),
	}
	if err := s.parse(files); err != nil {
		return nil, err
	}
	data, err := loadData(files)
	if err != nil {
		return nil, err
	}
	if err := checkData(data); err != nil {
		return nil, err
	}
	if err := checkSchema(files, data); err != nil {
		return nil, err
	}
	// Values that are kept as OPA's own need no conversion in an evaluation.
	s.store = inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	return s, nil
}

func (s *source) parse(files []file) error {
	var faults ast.Errors
	for _, f := range files {
		if !f.isRego() {
			continue
		}
		module, err := ast.ParseModuleWithOpts(f.name, string(f.content), ast.ParserOptions{
			Capabilities:      capabilities(),
			ProcessAnnotation: true,
			RegoVersion:       ast.RegoV1,
		})
		var parseErrs ast.Errors
		switch {
		case errors.As(err, &parseErrs):
			faults = append(faults, parseErrs...)
		case err != nil:
			return fmt.Errorf("%s: %w", f.name, err)
		case f.isTest():
			s.tests[f.name] = module
		default:
			s.modules[f.name] = module
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// checkData refuses data in the place of a rule that the proxy asks for. It would be
// passed over, and a limit that is passed over allows.
func checkData(data map[string]any) error {
	for _, a := range actions() {
		sallyport, _ := data["sallyport"].(map[string]any)
		pkg, _ := sallyport[string(a)].(map[string]any)
		for _, name := range a.rules() {
			if _, ok := pkg[name]; ok {
				return fmt.Errorf("%s must be a rule, but a data file sets it", a.rule(name))
			}
		}
	}
	return nil
}

func (s *source) compile(ctx context.Context, opts Options) (*Policy, error) {
	txn, err := s.store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening data: %w", err)
	}
	defer s.store.Abort(ctx, txn)

	hasData := storage.NonEmpty(ctx, s.store, txn)
	c := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithStrict(true).
		WithPathConflictsCheck(hasData)
	if c.Compile(s.modules); c.Failed() {
		return nil, c.Errors
	}
	if err := checkTypes(s.modules); err != nil {
		return nil, err
	}

	p := &Policy{
		revision:  s.revision,
		timeout:   opts.Timeout,
		slots:     make(chan struct{}, opts.MaxConcurrent),
		questions: make(map[action]*question),
	}
	for _, a := range actions() {
		q, err := newQuestion(c, s.store, a)
		if err != nil {
			return nil, err
		}
		if q == nil {
			if err := s.mayLack(a, hasData); err != nil {
				return nil, err
			}
		}
		p.questions[a] = q
	}
	p.reads = readsOf(c, scrapeFields, p.questions[scrape].places)
	p.offerReads = readsOf(c, registerFields, p.questions[register].places)
	p.steady = steadyOf(c)
	p.cache = newCache(p.reads, opts.CacheEntries)
	return p, nil
}

// mayLack says whether a policy may do without the rule allow of a. Without that of
// session every agent may connect: so anything else in that package means that the
// rule was forgotten, or its name misspelt.
func (s *source) mayLack(a action, hasData func([]string) (bool, error)) error {
	switch a {
	case admin:
		return nil
	case session:
		return s.nothingIn(a, hasData)
	}
	return fmt.Errorf("no rule %s: is this the folder of a policy?", a.rule(ruleAllow))
}

func (s *source) nothingIn(a action, hasData func([]string) (bool, error)) error {
	for _, name := range slices.Sorted(maps.Keys(s.modules)) {
		m := s.modules[name]
		if m.Package.Path.HasPrefix(a.path()) {
			return fmt.Errorf("%s: the package needs a rule %s", m.Package.Loc(), a.rule(ruleAllow))
		}
		for _, r := range m.Rules {
			if r.Ref().HasPrefix(a.path()) {
				return fmt.Errorf("%s: this needs a rule %s beside it", r.Loc(), a.rule(ruleAllow))
			}
		}
	}
	switch found, err := hasData([]string{"sallyport", string(a)}); {
	case err != nil:
		return fmt.Errorf("reading data: %w", err)
	case found:
		return fmt.Errorf("a data file sets %s: this needs a rule %s beside it", a.path(), a.rule(ruleAllow))
	}
	return nil
}
