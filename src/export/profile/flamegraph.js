// Labels that are too long for their rectangle show the last segments of the path, as frame_label.rs does.
function outside(text) {
    var places = [], depth = 0;
    for (var i = 0; i < text.length; i++) {
        if (depth === 0) places.push(i);
        if ("<([{".indexOf(text[i]) >= 0) depth++;
        else if (">)]}".indexOf(text[i]) >= 0 && !(text[i] === ">" && text[i - 1] === "-")) depth = Math.max(0, depth - 1);
    }
    return places;
}
function without_trait(name) {
    if (name[0] !== "<") return name;
    var inside = name.substring(1);
    var end = outside(inside).find(function(at) { return inside[at] === ">"; });
    if (end === undefined) return name;
    var method = inside.substring(end + 1);
    inside = inside.substring(0, end);
    var at = outside(inside).find(function(at) { return inside.startsWith(" as ", at); });
    if (at !== undefined) inside = inside.substring(0, at);
    return without_trait(inside.replace(/^[&* ]+/, "").replace(/^(mut |const |dyn )+/, "")) + method;
}
function label(name, fits) {
    if (fits(name)) return name;
    var plain = without_trait(name), last = plain, starts = outside(plain);
    var places = [0].concat(starts.filter(function(at) { return plain.startsWith("::", at) && plain[at + 2] !== "{"; })
        .map(function(at) { return at + 2; }));
    for (var i = 0; i < places.length; i++) {
        last = plain.substring(places[i]);
        if (fits(last)) return last;
    }
    for (var length = last.length - 1; length > 0; length--) {
        if (fits(last.substring(0, length) + "..")) return last.substring(0, length) + "..";
    }
    return "";
}
// These two replace functions of the script above. They measure text without layout, and write after all reading.
var pen;
function update_text_for_elements(elements) {
    if (!elements.length) return;
    if (!pen) {
        pen = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas").getContext("2d");
        var style = getComputedStyle(find_child(elements[0], "text"));
        pen.font = style.fontSize + " " + style.fontFamily;
    }
    var labels = [], whole = frames.attributes.width.value;
    for (var i = 0; i < elements.length; i++) {
        var rect = find_child(elements[i], "rect").attributes;
        var room = parseFloat(rect.width.value) * whole / 100 - 5;
        var fits = function(text) { return pen.measureText(text).width <= room; };
        var name = find_child(elements[i], "title").textContent.replace(/ \([^(]*\)$/, "");
        var shown = room < fontsize ? "" : label(name, fits);
        labels.push([format_percent(parseFloat(rect.x.value) + 300 / whole), shown]);
    }
    for (var i = 0; i < elements.length; i++) {
        var text = find_child(elements[i], "text");
        text.attributes.x.value = labels[i][0];
        text.textContent = labels[i][1];
    }
}
function update_text(element) {
    update_text_for_elements([element]);
}
