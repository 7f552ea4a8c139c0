-- How large are the images of each split, by file format?
SELECT split, format, COUNT(*) AS images,
       MIN(width) AS min_width, MEDIAN(width) AS median_width, MAX(width) AS max_width,
       MIN(height) AS min_height, MEDIAN(height) AS median_height, MAX(height) AS max_height,
       SUM(bytes) / 1000000.0 AS megabytes
FROM images
WHERE status <> 'unreadable'
GROUP BY split, format
ORDER BY split, images DESC, format;
