package daemon

// Others is what each daemon is told of the other's variables.
var Others = others
