package engine

import (
	"strconv"
)

// imageEvent reports what was done to an image. id is what the event is of: the
// image's id, or for pull and push its name. Attributes are the image's labels,
// if it is still there, and the name.
func (e *Engine) imageEvent(action, id, name string) {
	e.addImageEvent(action, id, e.imageAttributes(id, name))
}

// addImageEvent is imageEvent with attributes of before, for an image that is gone.
func (e *Engine) addImageEvent(action, id string, attr map[string]string) {
	e.events.add(Event{Type: "image", Action: action, ID: id, Attributes: attr, Time: e.clock.Now()})
}

func (e *Engine) imageAttributes(id, name string) map[string]string {
	attr := map[string]string{}
	if img, err := e.images.Resolve(id); err == nil {
		if c, err := imageConfig(img); err == nil {
			for k, v := range c.Config.Labels {
				attr[k] = v
			}
		}
	}
	if name != "" {
		attr["name"] = name
	}
	return attr
}

// imagePruneEvent reports a prune with the bytes that it freed.
func (e *Engine) imagePruneEvent(bytes int64) {
	e.events.add(Event{Type: "image", Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(bytes, 10)}, Time: e.clock.Now()})
}
