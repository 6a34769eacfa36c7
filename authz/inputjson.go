package authz

// JSON is the input document without blanks, its keys sorted: what Digest is over, and
// what sallyport policy eval --input reads. Now must be set.
func (in RegisterInput) JSON() []byte { return appendJSON(nil, in.document()) }

// JSON is the document. See [RegisterInput.JSON].
func (in ScrapeInput) JSON() []byte { return appendJSON(nil, in.document()) }

// JSON is the document. See [RegisterInput.JSON].
func (in AdminInput) JSON() []byte { return appendJSON(nil, in.document()) }

// JSON is the document. See [RegisterInput.JSON].
func (in SessionInput) JSON() []byte { return appendJSON(nil, in.document()) }
