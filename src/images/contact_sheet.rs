//! Several images side by side, scaled up by a whole factor for viewing.

/// A picture made of images of one size, row by row.
#[derive(Clone, Copy, Debug)]
pub struct ContactSheet<'a> {
    shape: [usize; 4],
    values: &'a [u8],
    columns: usize,
    scale: usize,
}

/// Level of the gap between tiles, one image pixel wide.
const GAP: u8 = 255;

impl<'a> ContactSheet<'a> {
    /// Lays images of shape (N, H, W, C) out in about as many rows as columns; `scale` is the
    /// number of screen pixels per image pixel and direction. N, H, W and `scale` are at least 1,
    /// `values` holds N * H * W * C values: otherwise the picture is empty.
    pub fn new(shape: [usize; 4], values: &'a [u8], scale: usize) -> Self {
        let whole = values.len() == shape.iter().product::<usize>();
        let [count, ..] = shape;
        let columns = (1..=count)
            .find(|columns| columns * columns >= count)
            .filter(|_| whole)
            .unwrap_or(0);
        Self {
            shape,
            values,
            columns,
            scale,
        }
    }

    /// Height and width of the picture.
    pub fn size(&self) -> [usize; 2] {
        let [count, height, width, _] = self.shape;
        if self.columns == 0 {
            return [0, 0];
        }
        let rows = count.div_ceil(self.columns);
        [
            (rows * (height + 1) - 1) * self.scale,
            (self.columns * (width + 1) - 1) * self.scale,
        ]
    }

    /// Channels of the picture: those of the images.
    pub fn channels(&self) -> usize {
        self.shape[3]
    }

    /// Appends row `y` of the picture.
    pub fn row(&self, y: usize, to: &mut Vec<u8>) {
        let [count, height, width, channels] = self.shape;
        let y = y / self.scale;
        let (tile_row, y) = (y / (height + 1), y % (height + 1));
        for column in 0..self.columns {
            if column > 0 {
                to.extend(std::iter::repeat_n(GAP, channels * self.scale));
            }
            let image = tile_row * self.columns + column;
            if y == height || image >= count {
                to.extend(std::iter::repeat_n(GAP, width * channels * self.scale));
                continue;
            }
            let start = (image * height + y) * width * channels;
            for pixel in self.values[start..][..width * channels].chunks_exact(channels) {
                for _ in 0..self.scale {
                    to.extend_from_slice(pixel);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ContactSheet;

    fn picture(tiles: &ContactSheet<'_>) -> Vec<Vec<u8>> {
        (0..tiles.size()[0])
            .map(|y| {
                let mut row = Vec::new();
                tiles.row(y, &mut row);
                row
            })
            .collect()
    }

    #[test]
    fn three_images_fill_two_rows_of_two() {
        // Images of 1x2 gray pixels: (0, 1), (2, 3), (4, 5).
        let tiles = ContactSheet::new([3, 1, 2, 1], &[0, 1, 2, 3, 4, 5], 1);
        assert_eq!(tiles.size(), [3, 5]);
        assert_eq!(
            picture(&tiles),
            [
                [0, 1, 255, 2, 3],
                [255, 255, 255, 255, 255],
                [4, 5, 255, 255, 255]
            ]
        );
    }

    #[test]
    fn scaling_repeats_pixels_in_both_directions() {
        let tiles = ContactSheet::new([1, 1, 2, 3], &[1, 2, 3, 4, 5, 6], 2);
        assert_eq!(tiles.size(), [2, 4]);
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        assert_eq!(picture(&tiles), [row, row]);
    }

    #[test]
    fn values_that_do_not_fit_the_shape_make_an_empty_picture() {
        assert_eq!(ContactSheet::new([2, 2, 2, 1], &[0; 7], 1).size(), [0, 0]);
    }
}
