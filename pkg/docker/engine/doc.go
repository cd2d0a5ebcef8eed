// Package engine is Docker semantics on top of a port layer: names and
// prefixes, the merge of image and user configuration, restart policies,
// --rm, events and what inspect shows. It knows neither HTTP nor vSphere; it
// declares the PortLayer and Images interfaces that it is given.
//
// Start reading at PortLayer, then Engine.
package engine
