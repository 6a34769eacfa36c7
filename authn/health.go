package authn

import "time"

// Health tells how a source is. It is a copy.
type Health struct {
	// Material is the error of Source.Material: nil where handshakes can be had.
	Material error
	// Up: the source itself is well: the files can be used, the Workload API
	// answers. Material outlives its source until our own certificate expires.
	Up bool
	// Since is when Up became what it is.
	Since time.Time
	// Cause is why the source is not up, "" where it is.
	Cause string
	// Updated is when the source last gave something good; zero if never.
	Updated time.Time
	// Withdrawn: the Workload API answers, but no longer gives our SVID. What it
	// gave serves on until NotAfter.
	Withdrawn bool
	// NotBefore and NotAfter are when our own certificate begins and ends; zero where
	// there is none.
	NotBefore, NotAfter time.Time
	// Rotations is how often a newer certificate of ours took over.
	Rotations uint64
	// Revocation tells of a revocation list that lets nobody in, "" where all is
	// well.
	Revocation string
	// Tokens tells why the keys of bearer tokens may be missing or old, "" where all
	// is well or nobody asked for them.
	Tokens string
	// CRLNextUpdate is when the first revocation list will be out of date; zero
	// where there are none.
	CRLNextUpdate time.Time
}
