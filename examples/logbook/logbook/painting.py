"""Pictures of boats at sea, painted from a random number: the same number, the same picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from random import Random

WIDTH, HEIGHT = 960, 640
OVERSAMPLE = 2  # Pillow's polygons have hard edges; halving the size afterwards softens them

KINDS = ("sloop", "trawler", "ketch", "dinghy")


@dataclass(frozen=True, slots=True)
class Light:
    """The colours of one time of day."""

    sky: tuple[str, str, str]  # from the zenith to the horizon
    sea: tuple[str, str]  # from the horizon to the shore
    sun: str
    land: str
    cloud: str
    stars: bool = False


LIGHTS = (
    Light(("#2b3a67", "#c06c84", "#f8b195"), ("#c98a8f", "#24385b"), "#ffe3c2", "#5d4a72", "#f7cfc4"),
    Light(("#2f80c3", "#7fc0e8", "#dff2fa"), ("#5fb0cc", "#0c4a6e"), "#fffbe8", "#5f8a8b", "#ffffff"),
    Light(("#35507a", "#f2a65a", "#ffe29a"), ("#eab267", "#26435e"), "#fff6cf", "#6c5a5e", "#ffd9a8"),
    Light(("#0b132b", "#1c2f56", "#3f5f8a"), ("#34547c", "#081226"), "#f4f1de", "#14203c", "#46618a", True),
    Light(("#6b8ba4", "#a9c0cc", "#e4ebec"), ("#9fb6bd", "#3a5a68"), "#f7f9f7", "#7d959c", "#f3f6f6"),
    Light(("#3b1f4a", "#b5446e", "#ffb56b"), ("#d98868", "#2d1e40"), "#ffdf8e", "#472a4e", "#ef8f7c"),
)
HULLS = ("#b3262e", "#1d3f72", "#14532d", "#f2f0e6", "#20242b", "#d97706", "#0f766e", "#7c2d52")
SAILS = ("#fffdf4", "#f6ead2", "#c2452d", "#e9eef2", "#26547c", "#f2b632")


def paint_harbour(random: Random) -> bytes:
    """A JPEG of the sea, the sky and a few boats."""
    light = random.choice(LIGHTS)
    horizon = random.randint(270, 350)
    canvas = Image.new("RGB", (WIDTH * OVERSAMPLE, HEIGHT * OVERSAMPLE))
    paint_sky(canvas, light, horizon, random)
    sun = (random.uniform(0.15, 0.85) * WIDTH, horizon - random.uniform(40, 190))
    paint_sun(canvas, light, sun)
    for _ in range(random.randint(1, 4)):
        paint_cloud(canvas, light, horizon, random)
    paint_land(canvas, light, horizon, random)
    paint_sea(canvas, light, horizon)
    paint_glitter(canvas, light, horizon, sun[0], random)
    if random.random() < 0.4:
        paint_lighthouse(canvas, light, horizon, random)
    for size, x, water in sorted(place_boats(horizon, random)):
        paint_boat(canvas, light, x, water, size, random)
    paint_gulls(canvas, light, horizon, random)
    file = io.BytesIO()
    canvas.reduce(OVERSAMPLE).save(file, "JPEG", quality=86)
    return file.getvalue()


def place_boats(horizon: int, random: Random) -> list[tuple[float, float, float]]:
    """Size, x and waterline of one to three boats that stand apart; the nearer, the larger."""
    count = random.choice((1, 1, 2, 2, 3))
    places = []
    for index in range(count):
        nearness = random.uniform(0.25, 0.9) if index else random.uniform(0.65, 1.0)
        water = horizon + 14 + nearness * 0.5 * (HEIGHT - horizon)
        x = WIDTH * (index + random.uniform(0.35, 0.65)) / count
        places.append((0.35 + nearness * (1.1 if count == 1 else 0.75), x, water))
    return places


def scaled(*points: tuple[float, float]) -> list[tuple[float, float]]:
    """Points of the finished picture as points of the canvas."""
    return [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mixed(one: str, other: str, share: float) -> str:
    """`share` of the other colour in the one."""
    pairs = zip(rgb(one), rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def gradient(colours: tuple[str, ...], width: int, height: int) -> Image.Image:
    """The colours from top to bottom, blended."""
    column = Image.new("RGB", (1, 64))
    for y in range(64):
        place = y / 63 * (len(colours) - 1)
        index = min(int(place), len(colours) - 2)
        column.putpixel((0, y), rgb(mixed(colours[index], colours[index + 1], place - index)))
    return column.resize((1, height), Image.Resampling.BICUBIC).resize((width, height))


def paint_sky(canvas: Image.Image, light: Light, horizon: int, random: Random) -> None:
    """The sky, with stars if it is night."""
    canvas.paste(gradient(light.sky, canvas.width, horizon * OVERSAMPLE), (0, 0))
    if not light.stars:
        return
    draw = ImageDraw.Draw(canvas)
    for _ in range(130):
        x, y = random.uniform(0, WIDTH), random.triangular(0, horizon - 30, 0)
        size = random.uniform(0.4, 1.3)
        colour = mixed(light.sky[1], "#ffffff", random.uniform(0.3, 1))
        draw.ellipse(scaled((x - size, y - size), (x + size, y + size)), fill=colour)


def paint_sun(canvas: Image.Image, light: Light, centre: tuple[float, float]) -> None:
    """The sun or the moon in its glow."""
    radius = 24 if light.stars else 32
    glow = Image.radial_gradient("L").resize((radius * 14 * OVERSAMPLE,) * 2)
    mask = glow.point([round(max(0, 1 - value / 181) ** 2.4 * 190) for value in range(256)])
    corner = [round(value * OVERSAMPLE - glow.width / 2) for value in centre]
    canvas.paste(light.sun, (corner[0], corner[1]), mask)
    x, y = centre
    box = scaled((x - radius, y - radius), (x + radius, y + radius))
    ImageDraw.Draw(canvas).ellipse(box, fill=light.sun)


def paint_cloud(canvas: Image.Image, light: Light, horizon: int, random: Random) -> None:
    """One soft cloud with a flat foot."""
    width, height = random.randint(150, 330), random.randint(26, 60)
    mask = Image.new("L", (width, height * 2))  # at half the scale: it is blurred anyway
    draw = ImageDraw.Draw(mask)
    foot = height * 1.4
    for _ in range(9):
        x = random.triangular(width * 0.12, width * 0.88)
        size = height * random.uniform(0.25, 0.5) * (1.25 - abs(x / width - 0.5) * 1.6)
        draw.ellipse((x - size * 1.7, foot - size * 1.6, x + size * 1.7, foot + size * 0.3), fill=190)
    mask = mask.filter(ImageFilter.GaussianBlur(5)).resize((width * OVERSAMPLE, height * 2 * OVERSAMPLE))
    x, y = random.randint(-80, WIDTH - 100), random.randint(10, max(20, horizon - 150))
    canvas.paste(light.cloud, (x * OVERSAMPLE, y * OVERSAMPLE), mask)


def paint_land(canvas: Image.Image, light: Light, horizon: int, random: Random) -> None:
    """Two ranges of hills; the farther one fades into the sky."""
    draw = ImageDraw.Draw(canvas)
    for haze, tall in ((0.68, 62), (0.35, 34)):
        waves = [(random.uniform(0.004, 0.02), random.uniform(0, 7), random.uniform(0.2, 1)) for _ in range(4)]
        slope = random.uniform(-1, 1)
        points = [(0.0, float(horizon))]
        for x in range(0, WIDTH + 8, 8):
            swell = sum(math.sin(x * pace + start) * size for pace, start, size in waves) / 2
            points.append((x, horizon - max(0.0, tall * (swell * 0.5 + 0.25 + slope * (x / WIDTH - 0.5)))))
        points.append((WIDTH, horizon))
        draw.polygon(scaled(*points), fill=mixed(light.land, light.sky[2], haze))


def paint_sea(canvas: Image.Image, light: Light, horizon: int) -> None:
    """The sea, with a pale line where it meets the sky."""
    top = horizon * OVERSAMPLE
    canvas.paste(gradient(light.sea, canvas.width, canvas.height - top), (0, top))
    edge = mixed(light.sea[0], light.sky[2], 0.5)
    ImageDraw.Draw(canvas).line(scaled((0, horizon), (WIDTH, horizon)), fill=edge, width=2)


def paint_glitter(canvas: Image.Image, light: Light, horizon: int, sun_x: float, random: Random) -> None:
    """Waves everywhere, and the sun's path on them."""
    draw = ImageDraw.Draw(canvas)
    depth = HEIGHT - horizon
    for index in range(430):
        far = random.random() ** 1.7
        y = horizon + 3 + far * depth
        path = index % 3 == 0
        length = random.uniform(4, 16) + far * random.uniform(10, 46)
        x = random.gauss(sun_x, 14 + far * 70) if path else random.uniform(-40, WIDTH)
        water = mixed(light.sea[0], light.sea[1], far)
        shade = light.sun if path else random.choice((light.sea[0], light.sky[2], "#0a1a2c"))
        colour = mixed(water, shade, random.uniform(0.25, 0.8) if path else random.uniform(0.06, 0.22))
        thick = 0.5 + far * 1.6
        draw.ellipse(scaled((x - length / 2, y - thick), (x + length / 2, y + thick)), fill=colour)


def paint_lighthouse(canvas: Image.Image, light: Light, horizon: int, random: Random) -> None:
    """A lighthouse on its rock, at one side."""
    draw = ImageDraw.Draw(canvas)
    x = random.choice((random.randint(50, 130), random.randint(WIDTH - 130, WIDTH - 50)))
    foot = horizon + 6
    rock = mixed(light.land, "#11161d", 0.45)
    points = ((-64, 6), (-40, -10), (-16, -20), (16, -22), (38, -8), (70, 6))
    draw.polygon(scaled(*((x + dx, foot + dy) for dx, dy in points)), fill=rock)
    stripe = random.choice(("#b3262e", "#1d3f72", "#20242b"))
    for index in range(5):
        low, high = foot - 18 - index * 19, foot - 37 - index * 19
        wide, narrow = 11 - index * 0.9, 10.1 - index * 0.9
        colour = mixed(stripe if index % 2 == 0 else "#f6f2e7", light.land, 0.2)
        corners = ((x - wide, low), (x - narrow, high), (x + narrow, high), (x + wide, low))
        draw.polygon(scaled(*corners), fill=colour)
    top = foot - 113
    draw.rectangle(scaled((x - 9, top - 2), (x + 9, top + 1)), fill="#20242b")
    draw.rectangle(scaled((x - 5, top - 14), (x + 5, top - 2)), fill="#ffe9a3")
    draw.polygon(scaled((x - 8, top - 14), (x, top - 24), (x + 8, top - 14)), fill=mixed(stripe, "#000000", 0.2))


def paint_boat(canvas: Image.Image, light: Light, x: float, water: float, size: float, random: Random) -> None:
    """One boat and its broken image in the water."""
    side = round(300 * size * OVERSAMPLE)
    layer = Image.new("RGBA", (side, side))
    hull, sail = random.choice(HULLS), random.choice(SAILS)
    if light.stars:
        hull, sail = mixed(hull, light.sky[0], 0.45), mixed(sail, light.sky[1], 0.5)
    draw_boat(ImageDraw.Draw(layer), side / 300, hull, sail, random)
    if random.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = round(x * OVERSAMPLE - side / 2), round(water * OVERSAMPLE - side * 270 / 300)
    foot = round(side * 266 / 300)
    mirror = layer.crop((0, 0, side, foot)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.resize((side, max(1, foot // 2)))
    mask = mirror.getchannel("A").point([value * 2 // 5 for value in range(256)])
    fade = ImageDraw.Draw(mask)
    for row in range(0, mask.height, max(4, side // 50)):
        fade.rectangle((0, row, side, row + side * row // mask.height // 60), fill=0)
    mirror = mirror.filter(ImageFilter.GaussianBlur(2 * size))
    canvas.paste(mirror.convert("RGB"), (left, top + foot), mask)
    canvas.paste(layer.convert("RGB"), (left, top), layer.getchannel("A"))


def draw_boat(draw: ImageDraw.ImageDraw, scale: float, hull: str, sail: str, random: Random) -> None:
    """A boat on a square of 300 by 300 whose waterline is at 268."""

    def shape(colour: str, *points: tuple[float, float]) -> None:
        draw.polygon([(x * scale, y * scale) for x, y in points], fill=colour)

    def line(colour: str, thick: float, *points: tuple[float, float]) -> None:
        draw.line([(x * scale, y * scale) for x, y in points], fill=colour, width=max(1, round(thick * scale)))

    kind = random.choice(KINDS)
    dark, wood = mixed(hull, "#000000", 0.3), "#6b4a32"
    shadow = mixed(sail, "#34495e", 0.22)
    if kind == "trawler":
        line("#2b2f36", 3, (112, 232), (112, 150))
        line("#2b2f36", 2, (112, 156), (62, 214))
        line("#2b2f36", 2, (112, 152), (196, 210))
        shape("#f4f1e8", (150, 232), (154, 184), (204, 184), (208, 232))
        shape(mixed("#f4f1e8", "#34495e", 0.25), (186, 232), (186, 184), (204, 184), (208, 232))
        for x in (160, 176, 192):
            shape("#27455e", (x, 206), (x, 194), (x + 10, 194), (x + 10, 206))
        shape(dark, (148, 184), (154, 176), (212, 176), (210, 184))
        shape(sail, (180, 176), (180, 150), (194, 150), (194, 176))
        hull_top = ((38, 226), (70, 236), (200, 238), (262, 216))
    else:
        masts = (140.0,) if kind != "ketch" else (124.0, 206.0)
        tall = 88 if kind == "dinghy" else 26
        for index, mast in enumerate(masts):
            top = tall + 62 * index
            line(wood, 3.5, (mast, 240), (mast, top))
            reach = 76 - 26 * index
            shape(sail, (mast + 4, top + 6), (mast + reach * 0.62, 150), (mast + reach, 222), (mast + 4, 224))
            shape(shadow, (mast + 4, 190), (mast + reach * 0.83, 190), (mast + reach, 222), (mast + 4, 224))
            if index == 0:
                shape(shadow, (mast - 4, top + 14), (mast - 40, 170), (mast - 84, 226), (mast - 4, 218))
                shape(sail, (mast - 4, top + 14), (mast - 26, 170), (mast - 56, 222), (mast - 4, 214))
            shape(hull, (mast, top), (mast - 20, top + 5), (mast, top + 10))
        shape("#efe7d8", (150, 236), (156, 224), (198, 224), (206, 236))
        hull_top = ((40, 230), (90, 236), (210, 236), (256, 226))
    shape(hull, *hull_top, (238, 258), (226, 268), (82, 268), (60, 256))
    shape(dark, (54, 250), (243, 250), (232, 264), (226, 268), (82, 268), (66, 261))
    stripe = [(x, y + 6) for x, y in hull_top]
    line(mixed(hull, "#ffffff", 0.75), 2.5, *stripe)


def paint_gulls(canvas: Image.Image, light: Light, horizon: int, random: Random) -> None:
    """A few gulls."""
    draw = ImageDraw.Draw(canvas)
    colour = mixed(light.land, "#ffffff" if light.stars else "#10161d", 0.4)
    for _ in range(random.randint(0, 6)):
        x, y, size = random.uniform(60, WIDTH - 60), random.uniform(40, horizon - 60), random.uniform(5, 12)
        for box, start, end in (((x - 2 * size, x), 200, 330), ((x, x + 2 * size), 210, 340)):
            corners = scaled((box[0], y - size / 2), (box[1], y + size))
            draw.arc(corners, start, end, fill=colour, width=round(1.6 * OVERSAMPLE))
