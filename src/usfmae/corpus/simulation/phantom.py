"""B-mode ultrasound simulated from a map of tissue: speckle, beam, attenuation, display.

The model is the linear, first-order one of speckle statistics (Wagner et al., IEEE Trans. Sonics
Ultrason. 30(3), 1983): a field of unresolved random scatterers, weighted by the tissue's backscatter and
by the attenuation along each beam, is convolved with the scanner's point-spread function. It is computed
at complex baseband, where a dense scatterer field is circular complex Gaussian noise, so the envelope of
homogeneous tissue is Rayleigh distributed by construction of the physics and not by drawing it.

Left out: refraction, multiple scattering and reverberation, non-linear propagation, the downshift of the
pulse's centre frequency with depth, side lobes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft, next_fast_len
from scipy.sparse import csr_array

Array = NDArray[np.floating]  # float32 throughout, for speed

SOUND_SPEED = 1.54  # mm / µs, soft tissue
SPECKLE_LEVEL_DB = -42.0  # mean speckle of soft tissue (0 dB echogenicity) below a perfect plane reflector
FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # full width at half maximum of a Gaussian of sd 1


@dataclass(frozen=True)
class Scanner:
    """A probe and its display settings.

    `sector_degrees` 0 is a linear array: `face_mm` wide, parallel beams. Otherwise a curved array of radius
    `face_mm` whose beams fan out over that angle. The frame has square pixels and shows the whole field.
    """

    name: str
    frequency_mhz: float
    bandwidth: float  # two-way, -6 dB, as a fraction of the centre frequency
    aperture_mm: float  # largest active aperture
    focus_mm: float  # transmit focus
    receive_f_number: float  # smallest depth / aperture on reception (dynamic focusing)
    depth_mm: float
    face_mm: float
    sector_degrees: float
    beams: int
    height: int  # of the frame, pixels
    width: int
    dynamic_range_db: float
    gain_db: float  # where speckle of 0 dB echogenicity is drawn, above black
    tgc: float = 0.55  # attenuation the time-gain compensation assumes, dB / cm / MHz
    noise_db: float = -62.0  # electronic noise against 0 dB speckle at the probe's face, before the TGC

    @cached_property
    def axial_step_mm(self) -> float:
        """Distance of two samples along a beam: half the axial resolution."""
        return self.axial_fwhm_mm / 2

    @cached_property
    def samples(self) -> int:
        return int(self.depth_mm / self.axial_step_mm)

    @cached_property
    def sample_depth_mm(self) -> Array:
        """Depth of each sample from the probe's face, `(samples,)`, mm."""
        return ((np.arange(self.samples) + 0.5) * self.axial_step_mm).astype(np.float32)

    @cached_property
    def axial_fwhm_mm(self) -> float:
        """Full width at half maximum of the pulse's envelope, for a Gaussian spectrum, mm."""
        sd_mhz = self.bandwidth * self.frequency_mhz / FWHM
        return float(FWHM * SOUND_SPEED / (4 * np.pi * sd_mhz))

    @cached_property
    def lateral_fwhm_mm(self) -> Array:
        """Full width at half maximum of the two-way beam at each sample's depth, `(samples,)`, mm.

        Transmission is a Gaussian beam with a fixed focus. Reception is focused everywhere at a constant
        f-number until the aperture is used up; from there on it widens with depth.
        """
        wavelength, z = SOUND_SPEED / self.frequency_mhz, self.sample_depth_mm
        waist = 2 * wavelength * self.focus_mm / (np.pi * self.aperture_mm)  # 1/e radius in the focus
        transmit = waist * np.hypot(1, (z - self.focus_mm) * wavelength / (np.pi * waist**2))
        receive = 2 * wavelength / np.pi * np.maximum(self.receive_f_number, z / self.aperture_mm)
        return (FWHM / np.sqrt(2) / np.hypot(1 / transmit, 1 / receive)).astype(np.float32)

    @cached_property
    def beam_step_mm(self) -> Array:
        """Distance of two neighbouring beams at each sample's depth, `(samples,)`, mm."""
        if not self.sector_degrees:
            return np.full(self.samples, self.face_mm / self.beams, np.float32)
        return (self.face_mm + self.sample_depth_mm) * np.float32(
            np.radians(self.sector_degrees) / self.beams
        )

    @cached_property
    def pixel_mm(self) -> float:
        """Edge of a pixel, mm: the smallest that shows the whole field."""
        half = np.radians(self.sector_degrees / 2)
        if not self.sector_degrees:
            return max(self.depth_mm / self.height, self.face_mm / self.width)
        tall = self.face_mm + self.depth_mm - self.face_mm * np.cos(half)
        return float(max(tall / self.height, 2 * (self.face_mm + self.depth_mm) * np.sin(half) / self.width))

    @cached_property
    def pixel_x_mm(self) -> Array:
        """Lateral position of each column, `(width,)`, mm from the middle of the probe."""
        return ((np.arange(self.width) - (self.width - 1) / 2) * self.pixel_mm).astype(np.float32)

    @cached_property
    def pixel_z_mm(self) -> Array:
        """Depth of each row below the middle of the probe's face, `(height,)`, mm."""
        top = self.face_mm * (np.cos(np.radians(self.sector_degrees / 2)) - 1) if self.sector_degrees else 0.0
        return ((np.arange(self.height) + 0.5) * self.pixel_mm + top).astype(np.float32)

    @cached_property
    def _beams_from_pixels(self) -> csr_array:
        """Bilinear interpolation of a pixel map at the samples of all beams."""
        place = (np.arange(self.beams) + 0.5) / self.beams - 0.5  # -0.5 to 0.5 across the probe
        if self.sector_degrees:
            angle = place * np.radians(self.sector_degrees)
            radius = self.face_mm + self.sample_depth_mm[:, None]
            x, z = radius * np.sin(angle), radius * np.cos(angle) - self.face_mm
        else:
            x, z = np.broadcast_arrays(place * self.face_mm, self.sample_depth_mm[:, None])
        row = (z - self.pixel_z_mm[0]) / self.pixel_mm
        column = (x - self.pixel_x_mm[0]) / self.pixel_mm
        return _bilinear(row, column, (self.height, self.width), outside="edge")

    @cached_property
    def _pixels_from_beams(self) -> csr_array:
        """Scan conversion: bilinear interpolation of the beams at the pixels, 0 outside the field."""
        x, z = np.meshgrid(self.pixel_x_mm, self.pixel_z_mm)
        if self.sector_degrees:
            place = np.arctan2(x, z + self.face_mm) / np.radians(self.sector_degrees)
            depth = np.hypot(x, z + self.face_mm) - self.face_mm
        else:
            place, depth = x / self.face_mm, z
        row, column = depth / self.axial_step_mm - 0.5, (place + 0.5) * self.beams - 0.5
        return _bilinear(row, column, (self.samples, self.beams), outside="zero")

    @cached_property
    def field(self) -> NDArray[np.bool_]:
        """`(height, width)`: the pixels that the beams reach."""
        ones = np.ones(self.samples * self.beams, np.float32)
        return (self._pixels_from_beams @ ones).reshape(self.height, self.width) > 0.5

    @cached_property
    def _axial_response(self) -> Array:
        return _gaussian_response(np.array([self.axial_fwhm_mm / self.axial_step_mm]), self.samples)[0][
            :, None
        ]

    @cached_property
    def _lateral_response(self) -> Array:
        return _gaussian_response(self.lateral_fwhm_mm / self.beam_step_mm, self.beams)


@dataclass(frozen=True)
class Medium:
    """What the sound meets, on the scanner's pixel grid; each map float32 `(height, width)`."""

    echogenicity_db: Array  # mean backscatter against soft tissue
    attenuation: Array  # one way, dB / cm / MHz
    impedance: Array  # MRayl; its steps along a beam reflect


def simulate_envelope(medium: Medium, scanner: Scanner, rng: np.random.Generator) -> Array:
    """Linear envelope `(samples, beams)` after time-gain compensation; homogeneous 0 dB tissue has rms 1.

    Scatterers weighted by backscatter and by the two-way attenuation down each beam, plus the reflections
    at steps of the impedance ((Z2 - Z1) / (Z2 + Z1)), are convolved with the pulse along the beam and, row
    by row, with the beam's profile at that depth.
    """
    shape = (scanner.samples, scanner.beams)
    maps = np.stack([medium.echogenicity_db.ravel(), medium.attenuation.ravel(), medium.impedance.ravel()], 1)
    echogenicity, attenuation, impedance = (scanner._beams_from_pixels @ maps).T.reshape(3, *shape)

    step_cm = scanner.axial_step_mm / 10
    round_trip = np.float32(2 * scanner.frequency_mhz * step_cm)
    tgc_db = (np.float32(scanner.tgc) * round_trip * np.arange(1, scanner.samples + 1, dtype=np.float32))[
        :, None
    ]
    # The compensation changes little over a pulse, so it may come before the convolution as well as after it.
    level_db = tgc_db - round_trip * np.cumsum(attenuation, axis=0)
    reflection = np.diff(impedance, axis=0, prepend=impedance[:1]) / (2 * impedance)
    scatter = _complex_noise(shape, rng) * _amplitude(echogenicity + level_db)
    scatter += np.abs(reflection) * _amplitude(level_db - np.float32(SPECKLE_LEVEL_DB))

    blurred = _filter(scatter, scanner._axial_response, axis=0)
    signal = _filter(blurred, scanner._lateral_response, axis=1)
    signal += _complex_noise(shape, rng) * _amplitude(tgc_db + np.float32(scanner.noise_db))
    return np.abs(signal)


def display(envelope: Array, scanner: Scanner, extra_gain_db: float = 0.0) -> NDArray[np.uint8]:
    """The frame, uint8 `(height, width)`: log compression, gain, axial averaging, scan conversion."""
    gain_db = scanner.gain_db + extra_gain_db
    level = 20 * np.log10(np.maximum(envelope, np.float32(1e-6)))
    grey = np.clip((level + gain_db) * (255 / scanner.dynamic_range_db), 0, 255)
    merge = max(1, round(scanner.pixel_mm / scanner.axial_step_mm))  # samples a pixel, against aliasing
    if merge > 1:
        total = np.cumsum(
            np.pad(grey, ((merge // 2 + 1, merge), (0, 0)), mode="edge"), axis=0, dtype=np.float32
        )
        grey = (total[merge : merge + len(grey)] - total[: len(grey)]) / merge
    frame = (scanner._pixels_from_beams @ grey.ravel()).reshape(scanner.height, scanner.width)
    return np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def simulate_frame(
    medium: Medium, scanner: Scanner, rng: np.random.Generator, extra_gain_db: float = 0.0
) -> NDArray[np.uint8]:
    """A B-mode frame of `medium`, uint8 `(height, width)`, black outside the field."""
    return display(simulate_envelope(medium, scanner, rng), scanner, extra_gain_db)


def _amplitude(level_db: Array) -> Array:
    return np.exp(level_db * np.float32(np.log(10) / 20))


def _complex_noise(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.complex64]:
    """Circular complex Gaussian noise of unit power."""
    noise = rng.standard_normal((shape[0], 2 * shape[1]), dtype=np.float32)
    noise *= np.float32(np.sqrt(0.5))
    return noise.view(np.complex64)


def _gaussian_response(fwhm: Array, length: int) -> Array:
    """Frequency responses of Gaussian kernels of unit energy, one a width in samples, `(len(fwhm), bins)`."""
    padded = next_fast_len(length + int(2 * fwhm.max()))  # zeros, so that the far edge does not leak in
    frequency = np.fft.fftfreq(padded)
    response = np.exp(-2 * (np.pi * np.asarray(fwhm)[:, None] / FWHM * frequency) ** 2)
    return (response / np.sqrt(np.mean(response**2, axis=1, keepdims=True))).astype(np.float32)


def _filter(signal: NDArray[np.complex64], response: Array, axis: int) -> NDArray[np.complex64]:
    length = signal.shape[axis]
    spectrum = fft(signal, n=response.shape[axis], axis=axis)
    spectrum *= response
    filtered = ifft(spectrum, axis=axis, overwrite_x=True)
    return filtered[:length] if axis == 0 else filtered[:, :length]


def _bilinear(row: NDArray, column: NDArray, shape: tuple[int, int], outside: str) -> csr_array:
    """Matrix that reads a map of `shape` at fractional positions; `outside` is `edge` or `zero`."""
    height, width = shape
    inside = (row >= -0.5) & (row <= height - 0.5) & (column >= -0.5) & (column <= width - 0.5)
    row, column = (np.clip(row, 0, height - 1).ravel(), np.clip(column, 0, width - 1).ravel())
    top = np.minimum(row.astype(np.int32), height - 2)
    left = np.minimum(column.astype(np.int32), width - 2)
    down, right = row - top, column - left
    corner = top * width + left
    index = np.stack([corner, corner + 1, corner + width, corner + width + 1], axis=1)
    weight = np.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=1
    )
    if outside == "zero":
        weight *= inside.reshape(-1, 1)
    pointer = np.arange(0, 4 * len(row) + 1, 4, dtype=np.int32)
    values = weight.astype(np.float32).ravel()
    return csr_array((values, index.ravel(), pointer), shape=(len(row), height * width))


# fmt: off
_SCANNERS = (
    #       name          MHz  band  apert. focus F    depth  face  angle beams  h    w   range  gain
    Scanner("convex-a", 3.5, 0.55, 15.0, 60.0, 3.0, 110.0, 50.0, 58.0, 128, 208, 256, 62.0, 27.0),
    Scanner("convex-b", 5.0, 0.50, 14.0, 50.0, 3.0, 95.0, 40.0, 62.0, 144, 224, 224, 54.0, 24.0),
    Scanner("convex-c", 4.0, 0.65, 16.0, 55.0, 2.8, 105.0, 60.0, 55.0, 144, 224, 288, 70.0, 33.0),
    Scanner("micro-a", 6.5, 0.45, 9.0, 40.0, 3.0, 68.0, 14.0, 76.0, 144, 224, 256, 58.0, 25.0),
    Scanner("micro-b", 8.0, 0.50, 8.0, 35.0, 3.0, 62.0, 11.0, 84.0, 160, 208, 256, 64.0, 30.0),
    Scanner("linear-a", 9.0, 0.45, 8.0, 20.0, 2.8, 40.0, 40.0, 0.0, 160, 224, 224, 56.0, 25.0),
    Scanner("linear-b", 12.0, 0.50, 7.0, 18.0, 2.8, 36.0, 42.0, 0.0, 192, 208, 256, 64.0, 31.0),
)
# fmt: on
SCANNERS: dict[str, Scanner] = {scanner.name: scanner for scanner in _SCANNERS}
