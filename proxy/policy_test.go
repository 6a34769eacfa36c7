package proxy_test

import "testing/fstest"

// anyRoute lets any agent register anything and /prometheus read it.
var anyRoute = fstest.MapFS{
	"register.rego": {Data: []byte("package sallyport.register\n\nallow := true\n")},
	"scrape.rego":   {Data: []byte("package sallyport.scrape\n\nallow if input.scraper.segments[0] == \"prometheus\"\n")},
}
