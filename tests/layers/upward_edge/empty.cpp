// Nothing: configuring fails before it is compiled.
