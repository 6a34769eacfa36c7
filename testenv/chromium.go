package testenv

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// chromiumFlags keep a browser of a test to itself: no account, no update, no network but
// the page's, and no sandbox, which root in a container cannot have.
var chromiumFlags = strings.Fields(`--headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --disable-quic
	--no-first-run --no-default-browser-check --disable-background-networking --disable-component-update --disable-sync
	--disable-default-apps --disable-extensions --disable-dev-shm-usage --disable-crash-reporter --hide-scrollbars
	--force-color-profile=srgb --font-render-hinting=none --disable-features=Translate,OptimizationHints,MediaRouter
	--host-resolver-rules=MAP\u0020*\u0020~NOTFOUND,EXCLUDE\u0020127.0.0.1`)

// Chromium is a headless browser, driven by the DevTools protocol over two pipes.
type Chromium struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  *os.File

	mu      sync.Mutex
	next    int
	waiting map[int]chan devtoolsMessage
	pages   map[string]*BrowserPage
	ended   bool
}

// devtoolsMessage is one of either direction.
type devtoolsMessage struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// NewChromium starts Debian's chromium until the test ends. Where there is none the test
// is skipped; see Program.
func NewChromium(tb testing.TB) *Chromium {
	tb.Helper()
	program := Program(tb, "chromium")
	theirIn, in, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	b := &Chromium{tb: tb, in: in, waiting: make(map[int]chan devtoolsMessage), pages: make(map[string]*BrowserPage)}
	flags := append([]string{"--user-data-dir=" + dir}, chromiumFlags...)
	for i := range flags {
		flags[i] = strings.ReplaceAll(flags[i], `\u0020`, " ")
	}
	b.cmd = exec.Command(program, flags...)
	b.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "LANG=C.UTF-8"}
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, as the flag wants them
	if err := b.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.receive(out)
	}()
	tb.Cleanup(func() {
		_, _ = b.call("", "Browser.close", nil)
		late := time.AfterFunc(10*time.Second, func() { _ = b.cmd.Process.Kill() })
		_ = b.cmd.Wait()
		late.Stop()
		in.Close()
		out.Close()
		<-done
	})
	return b
}

// receive hands out what the browser says, until it ends.
func (b *Chromium) receive(out *os.File) {
	reader := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := reader.ReadBytes(0)
		if err != nil {
			break
		}
		var m devtoolsMessage
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		answer, page := b.waiting[m.ID], b.pages[m.Session]
		if m.ID != 0 {
			delete(b.waiting, m.ID)
		}
		b.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case page != nil:
			page.event(m)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, answer := range b.waiting {
		close(answer)
	}
	b.waiting = nil
}

func (b *Chromium) call(session, method string, params any) (json.RawMessage, error) {
	encoded, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return nil, errors.New("the browser has ended")
	}
	b.next++
	m := devtoolsMessage{ID: b.next, Session: session, Method: method, Params: encoded}
	b.waiting[m.ID] = answer
	line, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(line, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return nil, errors.New("the browser has ended")
		case m.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(30 * time.Second):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

// BrowserPage is one tab.
type BrowserPage struct {
	browser *Chromium
	session string
	loaded  chan struct{}

	mu     sync.Mutex
	faults []string
}

// Page opens a tab of that width, in the dark or the light theme.
func (b *Chromium) Page(width, height int, dark bool) *BrowserPage {
	b.tb.Helper()
	p := &BrowserPage{browser: b, loaded: make(chan struct{}, 16)}
	var target struct{ TargetID string }
	b.must("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.must("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.must(p.session, domain+".enable", struct{}{}, nil)
	}
	p.Resize(width, height)
	theme := "light"
	if dark {
		theme = "dark"
	}
	b.must(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"},
	}}, nil)
	b.must(p.session, "Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil)
	return p
}

// Resize gives the tab another size, without its page being loaded again.
func (p *BrowserPage) Resize(width, height int) {
	p.browser.tb.Helper()
	p.browser.must(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

func (b *Chromium) must(session, method string, params, into any) {
	b.tb.Helper()
	result, err := b.call(session, method, params)
	if err == nil && into != nil {
		err = json.Unmarshal(result, into)
	}
	if err != nil {
		b.tb.Fatalf("%s: %v", method, err)
	}
}

// event notes what a developer would see in red.
func (p *BrowserPage) event(m devtoolsMessage) {
	switch m.Method {
	case "Page.loadEventFired":
		p.loaded <- struct{}{}
	case "Runtime.exceptionThrown":
		p.fault(string(m.Params))
	case "Runtime.consoleAPICalled":
		var call struct{ Type string }
		if json.Unmarshal(m.Params, &call) == nil && (call.Type == "error" || call.Type == "warning") {
			p.fault(string(m.Params))
		}
	case "Log.entryAdded":
		p.fault(string(m.Params))
	}
}

func (p *BrowserPage) fault(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, text)
}

// Faults are the errors of scripts, of the console, of what could not be loaded, and
// what the Content-Security-Policy kept from happening.
func (p *BrowserPage) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults
}

// Go loads a page.
func (p *BrowserPage) Go(url string) {
	p.browser.tb.Helper()
	for len(p.loaded) > 0 {
		<-p.loaded
	}
	p.browser.must(p.session, "Page.navigate", map[string]any{"url": url}, nil)
	select {
	case <-p.loaded:
	case <-time.After(30 * time.Second):
		p.browser.tb.Fatalf("%s does not load", url)
	}
}

// Eval evaluates an expression, or waits for the promise that it is.
func (p *BrowserPage) Eval(expression string, into any) error {
	result, err := p.browser.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	if err != nil {
		return err
	}
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	if err := json.Unmarshal(result, &answer); err != nil {
		return err
	}
	if answer.ExceptionDetails != nil {
		return fmt.Errorf("%s: %s", expression, answer.ExceptionDetails)
	}
	if into == nil || answer.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, into)
}

// Await waits until an expression is true.
func (p *BrowserPage) Await(expression string) {
	p.browser.tb.Helper()
	Eventually(p.browser.tb, func() error {
		var ok bool
		if err := p.Eval(expression, &ok); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("not true: %s", expression)
		}
		return nil
	})
}

// Press presses a key that writes a character.
func (p *BrowserPage) Press(key string) {
	p.browser.tb.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key}
		if kind == "keyDown" && len(key) == 1 {
			params["text"] = key
		}
		if key == "Tab" {
			params["code"], params["windowsVirtualKeyCode"] = "Tab", 9
		}
		p.browser.must(p.session, "Input.dispatchKeyEvent", params, nil)
	}
}

// Screenshot is the window as PNG.
func (p *BrowserPage) Screenshot() []byte {
	p.browser.tb.Helper()
	var shot struct{ Data string }
	p.browser.must(p.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.browser.tb.Fatal(err)
	}
	return data
}
