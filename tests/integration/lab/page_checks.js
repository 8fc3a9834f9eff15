// What a test asks a page: each gives a list of what is wrong, or what is there.
const all = (query) => [...document.querySelectorAll(query)];
const isShown = (element) => element.getClientRects().length > 0;
const inside = (element, query) => element.closest(query) !== null;

const headings = () => all("h2").map((element) => element.textContent);

// Elements that reach beyond the window; what has a scroll bar of its own may be wider inside.
const tooWide = () => {
  const scrolls = (element) => {
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
    }
    return false;
  };
  const wide = all("body *").filter(
    (element) => isShown(element) && !scrolls(element) &&
      element.getBoundingClientRect().right > innerWidth + 0.5,
  );
  const page = document.scrollingElement;
  return [...(page.scrollWidth > innerWidth ? ["page"] : []), ...wide.map((element) => element.outerHTML.slice(0, 120))];
};

const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
const luminance = (colour) => {
  const [red, green, blue] = channels(colour).slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ratio = (a, b) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const paperBehind = (element) => {
  for (let up = element; up; up = up.parentElement) {
    const colour = getComputedStyle(up).backgroundColor;
    if ((channels(colour)[3] ?? 1) === 1) return colour;
  }
  return "rgb(255, 255, 255)";
};

// Texts with less contrast than WCAG's AA asks for; in a chart also against its stripes.
const faintTexts = () => {
  const found = [];
  for (const element of all("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !isShown(element) || ["TITLE", "DESC", "SCRIPT", "STYLE"].includes(element.tagName.toUpperCase())) continue;
    const style = getComputedStyle(element);
    const ink = element.tagName === "text" ? style.fill : style.color;
    const papers = [paperBehind(element)];
    const band = element.tagName === "text" && element.closest("svg").querySelector(".band");
    if (band) papers.push(getComputedStyle(band).fill);
    for (const paper of papers) {
      if (ratio(ink, paper) < 4.5) found.push(`${element.textContent.slice(0, 40)}: ${ink} on ${paper}`);
    }
  }
  return found;
};

// Pairs of texts of one chart that lie on one another.
const overlappingTexts = () => {
  const found = [];
  for (const chart of all("svg").filter(isShown)) {
    const texts = [...chart.querySelectorAll("text")].map((element) => [element.textContent, element.getBoundingClientRect()]);
    texts.forEach(([name, a], place) => {
      for (const [other, b] of texts.slice(place + 1)) {
        const apart = a.right <= b.left || b.right <= a.left || a.bottom - 3 <= b.top || b.bottom - 3 <= a.top;
        if (!apart) found.push(`${name} / ${other}`);
      }
    });
  }
  return found;
};

// Pictures without a title, tables of data without a caption, ids given twice.
const unnamed = () => [
  ...all('svg[role="img"]').filter((element) => !element.querySelector("title")).map(() => "a picture"),
  ...all("table").filter((element) => !element.caption && !inside(element, "details")).map(() => "a table"),
  ...all("[id]").map((element) => element.id).filter((name, place, names) => names.indexOf(name) !== place),
];

const brokenPictures = async () => {
  const broken = [];
  for (const element of all("image")) {
    const picture = new Image();
    picture.src = element.getAttribute("href");
    await picture.decode().catch(() => broken.push(picture.src.slice(0, 60)));
  }
  return broken;
};

const darkPaper = () => luminance(getComputedStyle(document.body).backgroundColor) < 0.2;
const foreignElements = () => all("script, img, iframe, object, embed, link, base").map((element) => element.outerHTML);
const shownText = () => document.body.textContent;

const chart = () => {
  const svg = all("svg.timeline").find(isShown);
  const titles = (query) => [...svg.querySelectorAll(`${query} > title`)].map((element) => element.textContent);
  return {
    rounds: titles(".round"),
    hovers: titles(".hover"),
    versions: [...svg.querySelectorAll(".version")].map((element) => element.lastChild.data),
    curves: [...svg.querySelectorAll(".curve")].map((element) => element.classList[1]),
  };
};
