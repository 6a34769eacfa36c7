package release

// Revision is of use without a binary that was stamped.
var Revision = revision
